//! The structures that tell a kernel about its machine: PVH's `start_info`, Linux's `boot_params`.

use std::ops::Range;

use linux_loader::loader::bootparam::{boot_e820_entry, boot_params, setup_header};
use linux_loader::loader::elf::start_info::{hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info};
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

use super::{BootError, LoadedKernel};
use crate::arch::x86_64::registers::Entry;
use crate::memory::{GuestMemory, layout};

/// `XEN_HVM_START_MAGIC_VALUE`.
const PVH_MAGIC: u32 = 0x336e_c578;

/// Writes the command line and the structures that `kernel`'s entry wants. `size` is the guest's memory
/// in bytes, `rsdp` where the ACPI tables start.
pub fn hand_over(
    memory: &GuestMemory,
    kernel: &LoadedKernel,
    size: u64,
    rsdp: u64,
    command_line: &str,
    initramfs: Option<&Range<u64>>,
) -> Result<(), BootError> {
    let mut line = command_line.as_bytes().to_vec();
    line.push(0);
    memory.write_slice(&line, GuestAddress(layout::COMMAND_LINE))?;
    match kernel.entry {
        Entry::Pvh { .. } => write_start_info(memory, size, rsdp, initramfs)?,
        Entry::Linux64 { .. } => write_boot_params(memory, kernel.setup_header, size, rsdp, initramfs)?,
    }
    Ok(())
}

fn write_start_info(
    memory: &GuestMemory,
    size: u64,
    rsdp: u64,
    initramfs: Option<&Range<u64>>,
) -> Result<(), GuestMemoryError> {
    let mut at = layout::START_INFO_TABLES;
    let mut info = hvm_start_info {
        magic: PVH_MAGIC,
        version: 1,
        cmdline_paddr: layout::COMMAND_LINE,
        rsdp_paddr: rsdp,
        memmap_paddr: at,
        ..Default::default()
    };
    for (range, kind) in layout::memory_map(size) {
        let entry = hvm_memmap_table_entry {
            addr: range.start,
            size: range.end - range.start,
            type_: kind as u32,
            reserved: 0,
        };
        memory.write_obj(entry, GuestAddress(at))?;
        at += size_of::<hvm_memmap_table_entry>() as u64;
        info.memmap_entries += 1;
    }
    if let Some(range) = initramfs {
        let module =
            hvm_modlist_entry { paddr: range.start, size: range.end - range.start, ..Default::default() };
        memory.write_obj(module, GuestAddress(at))?;
        info.modlist_paddr = at;
        info.nr_modules = 1;
    }
    memory.write_obj(info, GuestAddress(layout::START_INFO))
}

fn write_boot_params(
    memory: &GuestMemory,
    header: Option<setup_header>,
    size: u64,
    rsdp: u64,
    initramfs: Option<&Range<u64>>,
) -> Result<(), GuestMemoryError> {
    let mut params = boot_params { hdr: header.unwrap_or_else(elf_header), ..Default::default() };
    params.acpi_rsdp_addr = rsdp;
    // 0xff: a boot loader without a number of its own.
    params.hdr.type_of_loader = 0xff;
    params.hdr.cmd_line_ptr = layout::COMMAND_LINE as u32;
    if let Some(range) = initramfs {
        // The initramfs lies below the gap, so 32 bits hold its address and size.
        params.hdr.ramdisk_image = range.start as u32;
        params.hdr.ramdisk_size = (range.end - range.start) as u32;
    }
    let map = layout::memory_map(size);
    for (slot, (range, kind)) in params.e820_table.iter_mut().zip(&map) {
        *slot = boot_e820_entry { addr: range.start, size: range.end - range.start, r#type: *kind as u32 };
    }
    params.e820_entries = map.len() as u8;
    memory.write_obj(params, GuestAddress(layout::BOOT_PARAMS))
}

/// The setup header of a kernel that brings none.
fn elf_header() -> setup_header {
    setup_header {
        boot_flag: 0xaa55,
        header: u32::from_le_bytes(*b"HdrS"),
        version: 0x020c,
        kernel_alignment: 0x0100_0000,
        cmdline_size: super::command_line::MAX as u32 - 1,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(entry: Entry) -> LoadedKernel {
        LoadedKernel { entry, end: 2 << 20, setup_header: None }
    }

    #[test]
    fn pvh_tells_memory_initramfs_and_tables() {
        let memory = crate::memory::map(4 << 20).unwrap();
        let kernel = kernel(Entry::Pvh { address: 1 << 20 });
        hand_over(&memory, &kernel, 4 << 20, layout::ACPI.start, "quiet", Some(&(0x30_0000..0x30_0123)))
            .unwrap();
        let info: hvm_start_info = memory.read_obj(GuestAddress(layout::START_INFO)).unwrap();
        assert_eq!((info.magic, info.memmap_entries, info.nr_modules), (PVH_MAGIC, 4, 1));
        let module: hvm_modlist_entry = memory.read_obj(GuestAddress(info.modlist_paddr)).unwrap();
        assert_eq!((module.paddr, module.size), (0x30_0000, 0x123));
        assert!(info.modlist_paddr + 32 <= layout::BOOT_PARAMS);
        let mut line = [0; 6];
        memory.read_slice(&mut line, GuestAddress(info.cmdline_paddr)).unwrap();
        assert_eq!(&line, b"quiet\0");
    }

    #[test]
    fn linux_gets_a_zero_page() {
        let memory = crate::memory::map(4 << 20).unwrap();
        let kernel = kernel(Entry::Linux64 { address: 1 << 20 });
        hand_over(&memory, &kernel, 4 << 20, layout::ACPI.start, "quiet", None).unwrap();
        let params: boot_params = memory.read_obj(GuestAddress(layout::BOOT_PARAMS)).unwrap();
        assert_eq!({ params.acpi_rsdp_addr }, layout::ACPI.start);
        assert_eq!(params.e820_entries, 4);
        assert_eq!({ params.hdr.header }, 0x5372_6448);
    }
}
