//! A guest of a few instructions that tells hardware virtualization from something that only looks like it.
//!
//! A KVM without VT-x or AMD-V emulates guest kernel code, and its emulator knows neither `lock cmpxchg16b`
//! nor `int3`, which every Linux kernel executes while it boots.

#![allow(unsafe_code, reason = "KVM is told where the guest's memory lies")]

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_regs, kvm_segment, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd};
use thiserror::Error;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

/// What the probe raises.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// A call to KVM failed.
    #[error("KVM cannot {operation}")]
    Kvm {
        /// What was asked of it.
        operation: &'static str,
        /// Why.
        #[source]
        source: kvm_ioctls::Error,
    },
    /// The guest's memory cannot be had.
    #[error("there is no memory for a guest of {SIZE} bytes")]
    Memory,
    /// The guest did not come to its end.
    #[error("it has no hardware virtualization: {instruction} ends a guest with {exit}")]
    Stopped {
        /// What it stopped at.
        instruction: &'static str,
        /// What KVM said.
        exit: String,
    },
    /// The guest came to its end with a wrong result.
    #[error("it computes wrongly: lock cmpxchg16b did not store")]
    Wrong,
}

/// The guest's memory, in bytes.
const SIZE: usize = 2 << 20;
/// Where things lie in it.
const GDT: u64 = 0x1000;
const IDT: u64 = 0x2000;
const PAGE_TABLES: u64 = 0x3000;
const CODE: u64 = 0x7000;
const HANDLER: u64 = 0x7100;
const DATA: u64 = 0x8000;
const STACK_TOP: u64 = 0xa000;
/// The port on which the guest tells how far it is.
const PORT: u16 = 0x80;

/// The guest: tell 1, `lock cmpxchg16b [rdi]`, tell 2, `int3`, tell 3, halt.
const GUEST: [u8; 25] = [
    0xb0, 0x01, 0xe6, 0x80, // mov al, 1; out 0x80, al
    0x31, 0xc0, 0x31, 0xd2, // xor eax, eax; xor edx, edx
    0xf0, 0x48, 0x0f, 0xc7, 0x0f, // lock cmpxchg16b [rdi]
    0xb0, 0x02, 0xe6, 0x80, // mov al, 2; out 0x80, al
    0xcc, // int3
    0xb0, 0x03, 0xe6, 0x80, // mov al, 3; out 0x80, al
    0xf4, 0x90, 0x90, // hlt
];
/// What `int3` leads to: `iretq`.
const RETURN: [u8; 2] = [0x48, 0xcf];
/// What the guest stores.
const STORED: [u64; 2] = [0x1122_3344_5566_7788, 0x99aa_bbcc_ddee_ff00];
/// More exits than the guest has.
const MAX_EXITS: usize = 64;

fn kvm(operation: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> ProbeError {
    move |source| ProbeError::Kvm { operation, source }
}

/// Runs the guest on this KVM.
pub fn run(path: &Path) -> Result<(), ProbeError> {
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| ProbeError::Memory)?;
    let device = Kvm::new_with_path(name).map_err(kvm("be opened"))?;
    if device.get_api_version() != 12 {
        return Err(ProbeError::Kvm {
            operation: "speak version 12",
            source: kvm_ioctls::Error::new(libc::ENOTTY),
        });
    }
    let memory: GuestMemoryMmap =
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), SIZE)]).map_err(|_| ProbeError::Memory)?;
    fill(&memory).map_err(|_| ProbeError::Memory)?;
    // Dropped before the memory, which is declared before it.
    let machine = device.create_vm().map_err(kvm("make a machine"))?;
    // Where VT-x keeps what it needs; others do not mind.
    let _ = machine.set_tss_address(0xfffb_d000);
    let address = memory.get_host_address(GuestAddress(0)).map_err(|_| ProbeError::Memory)?;
    let region = kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: 0,
        memory_size: SIZE as u64,
        userspace_addr: address as u64,
    };
    // SAFETY: the region is the whole mapping of `memory`, which outlives `machine` and its vCPU; nobody
    // else uses it while the guest runs.
    unsafe { machine.set_user_memory_region(region) }.map_err(kvm("take the guest's memory"))?;
    let mut vcpu = machine.create_vcpu(0).map_err(kvm("make a processor"))?;
    let features = device.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(kvm("tell its features"))?;
    vcpu.set_cpuid2(&features).map_err(kvm("take a processor's features"))?;
    enter_long_mode(&vcpu)?;
    execute(&mut vcpu)?;
    let stored: [u64; 2] = [read(&memory, DATA), read(&memory, DATA + 8)];
    if stored == STORED { Ok(()) } else { Err(ProbeError::Wrong) }
}

fn read(memory: &GuestMemoryMmap, address: u64) -> u64 {
    memory.read_obj(GuestAddress(address)).unwrap_or_default()
}

fn fill(memory: &GuestMemoryMmap) -> Result<(), vm_memory::GuestMemoryError> {
    let put = |address: u64, value: u64| memory.write_obj(value, GuestAddress(address));
    // Descriptors: none, code of 64 bits, data (SDM volume 3, 3.4.5).
    put(GDT + 8, 0x00af_9b00_0000_ffff)?;
    put(GDT + 16, 0x00cf_9300_0000_ffff)?;
    // Vector 3: an interrupt gate to the handler in the code segment (6.14.1). The handler is below 64 KiB.
    put(IDT + 3 * 16, HANDLER | 8 << 16 | 0x8e << 40)?;
    put(IDT + 3 * 16 + 8, 0)?;
    // One large page that maps the first 2 MiB to themselves (4.5).
    put(PAGE_TABLES, (PAGE_TABLES + 0x1000) | 3)?;
    put(PAGE_TABLES + 0x1000, (PAGE_TABLES + 0x2000) | 3)?;
    put(PAGE_TABLES + 0x2000, 0x83)?;
    memory.write_slice(&GUEST, GuestAddress(CODE))?;
    memory.write_slice(&RETURN, GuestAddress(HANDLER))
}

fn enter_long_mode(vcpu: &VcpuFd) -> Result<(), ProbeError> {
    let mut special = vcpu.get_sregs().map_err(kvm("tell registers"))?;
    let code = kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector: 8,
        type_: 11,
        present: 1,
        s: 1,
        l: 1,
        g: 1,
        ..Default::default()
    };
    let data = kvm_segment { selector: 16, type_: 3, l: 0, db: 1, ..code };
    special.cs = code;
    (special.ds, special.es, special.fs, special.gs, special.ss) = (data, data, data, data, data);
    (special.gdt.base, special.gdt.limit) = (GDT, 23);
    (special.idt.base, special.idt.limit) = (IDT, 4 * 16 - 1);
    special.cr3 = PAGE_TABLES;
    special.cr4 |= 1 << 5; // PAE
    special.cr0 |= 1 << 31 | 1; // PG, PE
    special.efer |= 1 << 10 | 1 << 8; // LMA, LME
    vcpu.set_sregs(&special).map_err(kvm("take registers"))?;
    let registers = kvm_regs {
        rip: CODE,
        rsp: STACK_TOP,
        rdi: DATA,
        rbx: STORED[0],
        rcx: STORED[1],
        rflags: 2,
        ..Default::default()
    };
    vcpu.set_regs(&registers).map_err(kvm("take registers"))
}

fn execute(vcpu: &mut VcpuFd) -> Result<(), ProbeError> {
    let mut step = 0;
    let at = |step: u8| match step {
        0 => "its first instruction",
        1 => "lock cmpxchg16b",
        2 => "int3",
        _ => "hlt",
    };
    let stopped = |step, exit: String| Err(ProbeError::Stopped { instruction: at(step), exit });
    for _ in 0..MAX_EXITS {
        match vcpu.run() {
            Ok(VcpuExit::IoOut(PORT, data)) => step = data.first().copied().unwrap_or(step),
            Ok(VcpuExit::Hlt) if step == 3 => return Ok(()),
            Ok(exit) => return stopped(step, exit_name(&exit)),
            Err(error) if error.errno() == libc::EINTR || error.errno() == libc::EAGAIN => {}
            Err(error) => return stopped(step, error.to_string()),
        }
    }
    stopped(step, "too many exits".to_owned())
}

/// The exit's name, without what may be long.
fn exit_name(exit: &VcpuExit<'_>) -> String {
    match exit {
        VcpuExit::InternalError => "an emulation failure".to_owned(),
        VcpuExit::Shutdown => "a triple fault".to_owned(),
        other => format!("{other:?}").chars().take(60).collect(),
    }
}
