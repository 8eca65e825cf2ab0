//! One virtual machine.
#![allow(unsafe_code, reason = "tells KVM which host memory is the guest's")]

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::{IoEventAddress, VmFd};
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};
use vmm_sys_util::eventfd::EventFd;

use super::{KvmError, Vcpu};
use crate::memory::GuestMemory;

/// Three pages that KVM on Intel uses for itself, below the BIOS area and above the I/O APIC: where
/// nothing of ours is.
const TSS_ADDRESS: usize = 0xfffb_d000;

/// One virtual machine: memory slots, interrupt lines, vCPUs.
pub struct Vm {
    fd: VmFd,
    /// KVM reads and writes this memory for as long as `fd` lives.
    memory: Option<GuestMemory>,
}

impl Vm {
    pub(super) fn new(kvm: &kvm_ioctls::Kvm) -> Result<Self, KvmError> {
        let fd = loop {
            match kvm.create_vm() {
                Err(error) if error.errno() == libc::EINTR => {}
                other => break other.map_err(|source| KvmError::Vm("create a virtual machine", source))?,
            }
        };
        fd.set_tss_address(TSS_ADDRESS).map_err(|source| KvmError::Vm("set the TSS address", source))?;
        Ok(Self { fd, memory: None })
    }

    /// Gives the machine its memory, one slot a region. Can be done once.
    pub fn set_memory(&mut self, memory: &GuestMemory) -> Result<(), KvmError> {
        let refused = |source| KvmError::Vm("take the guest's memory", source);
        if self.memory.is_some() {
            return Err(refused(kvm_ioctls::Error::new(libc::EEXIST)));
        }
        for (slot, region) in (0u32..).zip(memory.iter()) {
            let slot = kvm_userspace_memory_region {
                slot,
                flags: 0,
                guest_phys_addr: region.start_addr().0,
                memory_size: region.len(),
                userspace_addr: region.as_ptr() as u64,
            };
            // SAFETY: The region is mapped for as long as it lives, and `self.memory` keeps it alive for
            // as long as the machine; regions of one GuestMemory do not overlap.
            unsafe { self.fd.set_user_memory_region(slot) }.map_err(refused)?;
        }
        self.memory = Some(memory.clone());
        Ok(())
    }

    /// Makes the interrupt controllers (I/O APIC, a local APIC a vCPU; the PICs come with them).
    pub fn create_irqchip(&self) -> Result<(), KvmError> {
        self.fd.create_irq_chip().map_err(|source| KvmError::Vm("create the interrupt controllers", source))
    }

    /// Makes vCPU `index`.
    pub fn create_vcpu(&self, index: u8) -> Result<Vcpu, KvmError> {
        let fd = self.fd.create_vcpu(index.into()).map_err(|source| KvmError::Vcpu {
            operation: "create",
            index,
            source,
        })?;
        Ok(Vcpu::new(fd, index))
    }

    /// A signal on `event` raises interrupt line `gsi` for a moment (an edge).
    pub fn connect_interrupt(&self, event: &EventFd, gsi: u32) -> Result<(), KvmError> {
        self.fd.register_irqfd(event, gsi).map_err(|source| KvmError::Vm("connect an interrupt line", source))
    }

    /// A guest's 4-byte write of `value` at `address` signals `event` without an exit to this process.
    pub fn connect_doorbell(&self, event: &EventFd, address: u64, value: u32) -> Result<(), KvmError> {
        self.fd
            .register_ioevent(event, &IoEventAddress::Mmio(address), value)
            .map_err(|source| KvmError::Vm("connect a queue's doorbell", source))
    }
}
