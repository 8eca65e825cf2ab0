//! One virtual processor.
#![allow(unsafe_code, reason = "hands out the address of a byte in kvm_run")]

use kvm_bindings::{CpuId, Msrs, kvm_msr_entry, kvm_regs, kvm_sregs};
use kvm_ioctls::VcpuFd;

use super::{Exit, GatheredWrites, Kicker, KvmError};

/// One virtual processor. It runs on whatever thread calls [`Vcpu::run`], and always on that one.
pub struct Vcpu {
    fd: VcpuFd,
    index: u8,
    kicker: Kicker,
}

impl Vcpu {
    pub(super) fn new(mut fd: VcpuFd, index: u8) -> Self {
        let byte: *mut u8 = &raw mut fd.get_kvm_run().immediate_exit;
        // SAFETY: The byte lies in the mapping that `fd` owns; `drop` forgets it before the fields go.
        let kicker = unsafe { Kicker::new(byte) };
        Self { fd, index, kicker }
    }

    /// The number of this vCPU; also its APIC id.
    pub fn index(&self) -> u8 {
        self.index
    }

    /// A way to get this vCPU out of its guest from another thread.
    pub fn kicker(&self) -> Kicker {
        self.kicker.clone()
    }

    /// The ring of the writes that KVM gathers, of this vCPU and all others of its machine.
    pub fn gathered_writes(&self) -> Result<GatheredWrites, KvmError> {
        GatheredWrites::map(&self.fd)
    }

    /// Enters the guest until it leaves for a reason.
    pub fn run(&mut self) -> Result<Exit<'_>, KvmError> {
        match self.fd.run() {
            Ok(exit) => Ok(exit.into()),
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => Ok(Exit::Interrupted),
            Err(source) => Err(KvmError::Vcpu { operation: "run", index: self.index, source }),
        }
    }

    /// Takes a kick as heard: the next [`Vcpu::run`] enters the guest.
    pub fn allow_entry(&self) {
        self.kicker.allow_entry();
    }

    /// Tells the guest's clock that this vCPU is about to stand still for a while, so that its watchdogs do
    /// not take the time for a lock-up (`KVM_KVMCLOCK_CTRL`).
    pub fn announce_pause(&self) {
        // Refused when the guest has no such clock (yet), and then it has nobody to tell.
        let _ = self.fd.kvmclock_ctrl();
    }

    /// Sets what the CPUID instruction shows.
    pub fn set_cpuid(&self, cpuid: &CpuId) -> Result<(), KvmError> {
        self.fd.set_cpuid2(cpuid).map_err(self.failed("set the CPUID of"))
    }

    /// Sets model-specific registers.
    pub fn set_msrs(&self, values: &[(u32, u64)]) -> Result<(), KvmError> {
        let entries: Vec<_> =
            values.iter().map(|&(index, data)| kvm_msr_entry { index, data, ..Default::default() }).collect();
        let msrs = Msrs::from_entries(&entries).map_err(|_| KvmError::Table("MSRs"))?;
        let set = self.fd.set_msrs(&msrs).map_err(self.failed("set the MSRs of"))?;
        if set == entries.len() {
            return Ok(());
        }
        Err(self.failed("set every MSR of")(kvm_ioctls::Error::new(libc::EINVAL)))
    }

    /// A model-specific register; none where KVM does not know it.
    pub fn msr(&self, index: u32) -> Result<Option<u64>, KvmError> {
        let mut msrs = self.one_msr(index, 0)?;
        let read = self.fd.get_msrs(&mut msrs).map_err(self.failed("read an MSR of"))?;
        Ok((read == 1).then(|| msrs.as_slice().first().map(|entry| entry.data)).flatten())
    }

    /// Sets a model-specific register; tells whether KVM takes it.
    pub fn set_msr(&self, index: u32, value: u64) -> Result<bool, KvmError> {
        let set = self.fd.set_msrs(&self.one_msr(index, value)?).map_err(self.failed("set an MSR of"))?;
        Ok(set == 1)
    }

    fn one_msr(&self, index: u32, data: u64) -> Result<Msrs, KvmError> {
        Msrs::from_entries(&[kvm_msr_entry { index, data, ..Default::default() }])
            .map_err(|_| KvmError::Table("MSRs"))
    }

    /// Sets the general registers.
    pub fn set_registers(&self, registers: &kvm_regs) -> Result<(), KvmError> {
        self.fd.set_regs(registers).map_err(self.failed("set the registers of"))
    }

    /// The segment and control registers.
    pub fn special_registers(&self) -> Result<kvm_sregs, KvmError> {
        self.fd.get_sregs().map_err(self.failed("read the special registers of"))
    }

    /// Sets the segment and control registers.
    pub fn set_special_registers(&self, registers: &kvm_sregs) -> Result<(), KvmError> {
        self.fd.set_sregs(registers).map_err(self.failed("set the special registers of"))
    }

    fn failed(&self, operation: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> KvmError {
        let index = self.index;
        move |source| KvmError::Vcpu { operation, index, source }
    }
}

impl Drop for Vcpu {
    fn drop(&mut self) {
        self.kicker.forget();
    }
}
