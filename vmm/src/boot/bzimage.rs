//! Checks a bzImage's setup header (Linux `Documentation/arch/x86/boot.rst`).

use std::ops::Range;

use super::KernelError;

/// Protocol 2.12 brought `xloadflags` and the 64-bit entry.
const PROTOCOL_2_12: u16 = 0x020c;
/// `loadflags`: the protected-mode code is loaded at 1 MiB.
const LOADED_HIGH: u8 = 1;
/// `xloadflags`: there is a 64-bit entry 0x200 bytes behind the load address.
const KERNEL_64: u16 = 1;

/// Where a bzImage goes.
pub(super) struct Plan {
    /// Where its protected-mode part is loaded.
    pub load: u64,
    /// Its 64-bit entry.
    pub entry: u64,
    /// The first address that it does not need while it unpacks itself.
    pub end: u64,
}

/// Checks that the image is one that has a 64-bit entry and that it fits into `ram`.
pub(super) fn check(head: &[u8], size: u64, ram: &Range<u64>) -> Result<Plan, KernelError> {
    let byte = |at: usize| head.get(at).copied().unwrap_or(0);
    let u16_at = |at| u16::from_le_bytes([byte(at), byte(at + 1)]);
    let u32_at = |at| u32::from_le_bytes([byte(at), byte(at + 1), byte(at + 2), byte(at + 3)]);
    let u64_at = |at| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;

    let version = u16_at(0x206);
    if version < PROTOCOL_2_12 || byte(0x211) & LOADED_HIGH == 0 || u16_at(0x236) & KERNEL_64 == 0 {
        let text =
            format!("setup header (protocol {}.{:02}) has no 64-bit entry", version >> 8, version & 0xff);
        return Err(KernelError::Header(text));
    }
    let setup_sectors = match byte(0x1f1) {
        0 => 4,
        sectors => u64::from(sectors),
    };
    let setup = (setup_sectors + 1) * 512;
    let code = u64::from(u32_at(0x1f4)) * 16;
    if code == 0 || setup + code > size {
        return Err(KernelError::Truncated {
            what: "the protected-mode code".into(),
            end: setup + code,
            size,
        });
    }
    let load = u64::from(u32_at(0x214)).max(ram.start);
    let unpacked = u64_at(0x258).max(load).saturating_add(u32_at(0x260).into());
    let end = unpacked.max(load.saturating_add(size - setup));
    if end > ram.end {
        return Err(KernelError::Memory { start: load, end, low: ram.start, high: ram.end });
    }
    Ok(Plan { load, entry: load + 0x200, end })
}
