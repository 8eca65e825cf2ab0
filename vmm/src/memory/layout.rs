//! Where things are in the guest's physical address space.
//!
//! ```text
//! 0                RAM: boot structures below 640 KiB, ACPI tables at 896 KiB
//! 1 MiB            RAM: kernel, initramfs at the end
//! 3 GiB            no RAM: virtio devices, I/O APIC, local APIC, KVM's own pages
//! 4 GiB            RAM again
//! ```

use std::ops::Range;

/// A mebibyte.
pub const MIB: u64 = 1 << 20;
/// A gibibyte.
pub const GIB: u64 = 1 << 30;

/// The end of the guest's physical addresses: every processor that runs guests has 40 bits of them or nearly so.
const ADDRESS_END: u64 = 1 << 40;

/// The hole without RAM. Everything that is not memory lies in it.
pub const GAP: Range<u64> = 3 * GIB..4 * GIB;

/// Where a guest says that it has booted, a page; Firecracker's place.
pub const BOOT_TIMER: u64 = GAP.start;
/// The first virtio device's window; each further one follows it.
pub const VIRTIO_BASE: u64 = BOOT_TIMER + VIRTIO_WINDOW;
/// The size of a virtio device's window, in bytes.
pub const VIRTIO_WINDOW: u64 = 0x1000;
/// The interrupt line of the keyboard, a PC's.
pub const KEYBOARD_LINE: u32 = 1;
/// The interrupt line of ACPI's events; a PC's second serial port has it, and there is none here.
pub const EVENTS_LINE: u32 = 3;
/// Interrupt lines of virtio devices: those of the I/O APIC that no legacy device has.
pub const VIRTIO_LINES: Range<u32> = 5..24;

/// KVM's I/O APIC (fixed in KVM).
pub const IO_APIC: u32 = 0xfec0_0000;
/// KVM's local APICs (fixed in the architecture).
pub const LOCAL_APIC: u32 = 0xfee0_0000;

/// The global descriptor table of the 64-bit entry.
pub const GDT: u64 = 0x500;
/// `hvm_start_info` of the PVH entry.
pub const START_INFO: u64 = 0x6000;
/// The memory map and the module list of the PVH entry.
pub const START_INFO_TABLES: u64 = 0x6800;
/// `boot_params` ("zero page") of the 64-bit entry.
pub const BOOT_PARAMS: u64 = 0x7000;
/// Page tables of the 64-bit entry: three pages.
pub const PAGE_TABLES: u64 = 0x9000;
/// The kernel's command line.
pub const COMMAND_LINE: u64 = 0x2_0000;
/// Where conventional memory ends for the guest; the EBDA would follow.
pub const LOW_END: u64 = 0x9_fc00;
/// The ACPI tables: a range that is RAM to KVM but not to the guest's kernel.
pub const ACPI: Range<u64> = 0xe_0000..0xe_f000;
/// The machine's generation, a page of its own.
pub const GENERATION: Range<u64> = 0xe_f000..0xf_0000;
/// The SMBIOS tables, in the range that kernels without EFI look through for them (SMBIOS 3.7 section 5.2.2).
/// No memory map names it: what is below 1 MiB and not named is nobody's.
pub const SMBIOS: Range<u64> = 0xf_0000..0xf_8000;
/// Where a processor in real mode starts after a reset (`F000:FFF0`).
pub const RESET_VECTOR: u64 = 0xf_fff0;
/// Where memory above the legacy areas starts; a kernel goes here or higher.
pub const HIGH: u64 = MIB;

/// The ranges of RAM for `size` bytes: the second one is empty unless they reach the gap.
pub fn ram(size: u64) -> [Range<u64>; 2] {
    let low = size.min(GAP.start);
    [0..low, GAP.end..GAP.end + (size - low)]
}

/// Where files as memory may be: above all RAM, from a gibibyte's boundary on so that Linux keeps no section of
/// its memory map for both; up to where 40 bits of address end.
pub fn above_ram(size: u64) -> Range<u64> {
    let [low, high] = ram(size);
    low.end.max(high.end).next_multiple_of(GIB)..ADDRESS_END
}

/// What a memory map calls a range (the same numbers in E820 and in PVH's table).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeKind {
    /// Free for the kernel.
    Ram = 1,
    /// Not for the kernel to use.
    Reserved = 2,
    /// ACPI tables.
    Acpi = 3,
}

/// The memory map that the guest's kernel is told, in ascending order.
pub fn memory_map(size: u64) -> Vec<(Range<u64>, RangeKind)> {
    let [low, high] = ram(size);
    let mut map = vec![
        (0..LOW_END, RangeKind::Ram),
        (ACPI, RangeKind::Acpi),
        (GENERATION, RangeKind::Reserved),
        (HIGH..low.end, RangeKind::Ram),
        (high, RangeKind::Ram),
    ];
    map.retain(|(range, _)| !range.is_empty());
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_memory_stays_below_the_gap() {
        let [low, high] = ram(128 * MIB);
        assert_eq!(low, 0..128 * MIB);
        assert!(high.is_empty());
        assert_eq!(memory_map(128 * MIB).len(), 4);
    }

    #[test]
    fn large_memory_goes_around_the_gap() {
        let [low, high] = ram(5 * GIB);
        assert_eq!(low, 0..3 * GIB);
        assert_eq!(high, 4 * GIB..6 * GIB);
        assert_eq!(memory_map(5 * GIB).last(), Some(&(4 * GIB..6 * GIB, RangeKind::Ram)));
    }

    #[test]
    fn files_as_memory_start_above_the_gap_and_above_ram() {
        assert_eq!(above_ram(128 * MIB).start, 4 * GIB);
        assert_eq!(above_ram(3 * GIB).start, 4 * GIB);
        assert_eq!(above_ram(3 * GIB + MIB).start, 5 * GIB);
        assert_eq!(above_ram(5 * GIB).start, 6 * GIB);
        assert!(above_ram(1020 * GIB).start >= 1021 * GIB);
    }

    #[test]
    fn the_map_is_sorted_and_without_overlap() {
        for size in [MIB * 2, 3 * GIB, 3 * GIB + MIB, 64 * GIB] {
            let map = memory_map(size);
            assert!(map.windows(2).all(|pair| pair[0].0.end <= pair[1].0.start), "{size:#x}: {map:x?}");
        }
    }
}
