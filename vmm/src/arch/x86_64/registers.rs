//! The registers of the first vCPU when it enters the kernel. The others wait for it, as at reset.

use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};
use vm_memory::{Bytes, GuestAddress};

use crate::kvm::{KvmError, Vcpu};
use crate::memory::{GuestMemory, layout};

const CR0_PROTECTED: u64 = 1;
const CR0_EXTENSION_TYPE: u64 = 1 << 4;
const CR0_PAGING: u64 = 1 << 31;
const CR4_PHYSICAL_ADDRESS_EXTENSION: u64 = 1 << 5;
const EFER_LONG_MODE: u64 = 1 << 8 | 1 << 10;
/// Bit 1 of RFLAGS is always set.
const FLAGS: u64 = 2;
/// Page table entry: present, writable.
const TABLE: u64 = 3;
/// Page table entry: present, writable, a page of 2 MiB.
const HUGE: u64 = 0x83;

/// How a kernel wants to be entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// The Xen HVM direct boot ABI ("PVH"): 32-bit protected mode without paging, EBX at `start_info`.
    Pvh {
        /// Physical address of the first instruction.
        address: u64,
    },
    /// Linux's 64-bit boot protocol (Documentation/arch/x86/boot.rst): long mode, RSI at `boot_params`.
    Linux64 {
        /// Physical address of the first instruction.
        address: u64,
    },
}

/// What may go wrong while registers are set.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// KVM refused.
    #[error("Cannot set the first vCPU's entry state")]
    Kvm(#[from] KvmError),
    /// Tables for the entry do not fit into the guest's memory.
    #[error("Cannot write the entry's tables into guest memory")]
    Memory(#[from] vm_memory::GuestMemoryError),
}

/// Puts `vcpu` at the kernel's entry.
pub fn enter(vcpu: &Vcpu, memory: &GuestMemory, entry: Entry) -> Result<(), RegisterError> {
    let mut special = vcpu.special_registers()?;
    let mut general = kvm_regs { rflags: FLAGS, ..Default::default() };
    match entry {
        Entry::Pvh { address } => {
            protected_mode(&mut special);
            general.rip = address;
            general.rbx = layout::START_INFO;
        }
        Entry::Linux64 { address } => {
            write_gdt(memory)?;
            write_page_tables(memory)?;
            long_mode(&mut special);
            general.rip = address;
            general.rsi = layout::BOOT_PARAMS;
        }
    }
    vcpu.set_special_registers(&special)?;
    vcpu.set_registers(&general)?;
    Ok(())
}

/// Descriptors as Linux numbers them: `__BOOT_CS` is 0x10, `__BOOT_DS` 0x18.
const GDT: [u64; 4] = [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];

fn write_gdt(memory: &GuestMemory) -> Result<(), vm_memory::GuestMemoryError> {
    (0u64..)
        .zip(GDT)
        .try_for_each(|(index, entry)| memory.write_obj(entry, GuestAddress(layout::GDT + 8 * index)))
}

/// The first GiB, mapped onto itself by pages of 2 MiB.
fn write_page_tables(memory: &GuestMemory) -> Result<(), vm_memory::GuestMemoryError> {
    let [level4, level3, level2] = [0, 1, 2].map(|page| layout::PAGE_TABLES + page * 0x1000);
    memory.write_obj(level3 | TABLE, GuestAddress(level4))?;
    memory.write_obj(level2 | TABLE, GuestAddress(level3))?;
    let mut entries = [0u8; 4096];
    for (index, entry) in (0u64..).zip(entries.chunks_exact_mut(8)) {
        entry.copy_from_slice(&((index << 21) | HUGE).to_le_bytes());
    }
    memory.write_slice(&entries, GuestAddress(level2))
}

fn code(selector: u16, long: bool) -> kvm_segment {
    kvm_segment { type_: 0xb, l: u8::from(long), db: u8::from(!long), ..data(selector) }
}

fn data(selector: u16) -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector,
        type_: 3,
        present: 1,
        s: 1,
        db: 1,
        g: 1,
        ..Default::default()
    }
}

fn set_segments(special: &mut kvm_sregs, long: bool) {
    special.cs = code(0x10, long);
    let flat = data(0x18);
    (special.ds, special.es, special.fs, special.gs, special.ss) = (flat, flat, flat, flat, flat);
    special.tr = kvm_segment { type_: 0xb, present: 1, limit: 0x67, ..Default::default() };
}

fn protected_mode(special: &mut kvm_sregs) {
    set_segments(special, false);
    special.cr0 = CR0_PROTECTED | CR0_EXTENSION_TYPE;
    special.cr4 = 0;
    special.efer = 0;
}

fn long_mode(special: &mut kvm_sregs) {
    set_segments(special, true);
    special.gdt.base = layout::GDT;
    special.gdt.limit = (size_of_val(&GDT) - 1) as u16;
    special.cr3 = layout::PAGE_TABLES;
    special.cr0 = CR0_PROTECTED | CR0_EXTENSION_TYPE | CR0_PAGING;
    special.cr4 = CR4_PHYSICAL_ADDRESS_EXTENSION;
    special.efer = EFER_LONG_MODE;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_map_covers_the_first_gib() {
        let memory = crate::memory::map(4 << 20).unwrap();
        write_page_tables(&memory).unwrap();
        let last: u64 = memory.read_obj(GuestAddress(layout::PAGE_TABLES + 0x2ff8)).unwrap();
        assert_eq!(last, (511 << 21) | HUGE);
    }

    #[test]
    fn protected_mode_has_no_paging_and_flat_segments() {
        let mut special = kvm_sregs { cr0: CR0_PAGING, efer: EFER_LONG_MODE, ..Default::default() };
        protected_mode(&mut special);
        assert_eq!((special.cr0 & CR0_PAGING, special.efer), (0, 0));
        assert_eq!((special.cs.limit, special.cs.db, special.cs.l), (u32::MAX, 1, 0));
    }
}
