//! One virtual machine.
#![allow(unsafe_code, reason = "tells KVM which host memory is the guest's")]

use std::sync::Arc;

use kvm_bindings::{KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::{Cap, IoEventAddress, VmFd};
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};
use vmm_sys_util::eventfd::EventFd;

use super::{Gatherer, KvmError, Vcpu};
use crate::memory::{FileMapping, GuestMemory};

/// Three pages that KVM on Intel uses for itself, below the BIOS area and above the I/O APIC: where
/// nothing of ours is.
const TSS_ADDRESS: usize = 0xfffb_d000;

/// One virtual machine: memory slots, interrupt lines, vCPUs.
pub struct Vm {
    fd: Arc<VmFd>,
    /// KVM reads and writes this memory for as long as `fd` lives.
    memory: Option<GuestMemory>,
    /// The same for these.
    files: Vec<Arc<FileMapping>>,
    /// The number of the next memory slot.
    next_slot: u32,
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
        Ok(Self { fd: Arc::new(fd), memory: None, files: Vec::new(), next_slot: 0 })
    }

    /// Gives the machine its memory, one slot a region. Can be done once.
    pub fn set_memory(&mut self, memory: &GuestMemory) -> Result<(), KvmError> {
        let refused = |source| KvmError::Vm("take the guest's memory", source);
        if self.memory.is_some() {
            return Err(refused(kvm_ioctls::Error::new(libc::EEXIST)));
        }
        for region in memory.iter() {
            let slot = kvm_userspace_memory_region {
                slot: self.next_slot,
                flags: 0,
                guest_phys_addr: region.start_addr().0,
                memory_size: region.len(),
                userspace_addr: region.as_ptr() as u64,
            };
            // SAFETY: The region is mapped for as long as it lives, and `self.memory` keeps it alive for
            // as long as the machine; regions of one GuestMemory do not overlap.
            unsafe { self.fd.set_user_memory_region(slot) }.map_err(refused)?;
            self.next_slot += 1;
        }
        self.memory = Some(memory.clone());
        Ok(())
    }

    /// Gives the machine a file as memory at `address`. What is read-only cannot be written by the guest: such
    /// an access leaves it, and goes nowhere.
    pub fn add_file(&mut self, address: u64, file: &Arc<FileMapping>) -> Result<(), KvmError> {
        if file.read_only() && !self.fd.check_extension(Cap::ReadonlyMem) {
            return Err(KvmError::Capability("read-only memory"));
        }
        let region = kvm_userspace_memory_region {
            slot: self.next_slot,
            flags: if file.read_only() { KVM_MEM_READONLY } else { 0 },
            guest_phys_addr: address,
            memory_size: file.length(),
            userspace_addr: file.host_address(),
        };
        // SAFETY: The mapping lives as long as `file`, which `self.files` keeps for as long as the machine;
        // KVM refuses what overlaps with other memory of the guest's.
        unsafe { self.fd.set_user_memory_region(region) }
            .map_err(|source| KvmError::Vm("take a file as the guest's memory", source))?;
        self.next_slot += 1;
        self.files.push(Arc::clone(file));
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

    /// How writes to `count` ports from `port` on are gathered; none where KVM gathers none of ports.
    pub fn gatherer(&self, port: u16, count: u32) -> Option<Gatherer> {
        self.fd.check_extension(Cap::CoalescedPio).then(|| Gatherer::new(&self.fd, port, count))
    }
}
