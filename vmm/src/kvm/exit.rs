//! Why a vCPU left its guest.

use kvm_bindings::{KVM_SYSTEM_EVENT_CRASH, KVM_SYSTEM_EVENT_RESET, KVM_SYSTEM_EVENT_SHUTDOWN};
use kvm_ioctls::VcpuExit;

/// Why a vCPU left its guest, as far as this VMM tells apart.
#[derive(Debug)]
pub enum Exit<'a> {
    /// The guest reads a port; `data` is what it gets.
    PortRead(u16, &'a mut [u8]),
    /// The guest writes a port.
    PortWrite(u16, &'a [u8]),
    /// The guest reads an address without memory; the slice is what it gets.
    MmioRead(u64, &'a mut [u8]),
    /// The guest writes an address without memory.
    MmioWrite(u64, &'a [u8]),
    /// A signal came, or the vCPU was kicked.
    Interrupted,
    /// A triple fault: on a real machine, a reset.
    TripleFault,
    /// The guest asked through a paravirtual interface to be switched off.
    PowerOff,
    /// The guest asked through a paravirtual interface for a reset.
    Reset,
    /// Neither the processor nor KVM can go on; what it says.
    Broken(String),
}

impl<'a> From<VcpuExit<'a>> for Exit<'a> {
    fn from(exit: VcpuExit<'a>) -> Self {
        match exit {
            VcpuExit::IoIn(port, data) => Self::PortRead(port, data),
            VcpuExit::IoOut(port, data) => Self::PortWrite(port, data),
            VcpuExit::MmioRead(address, data) => Self::MmioRead(address, data),
            VcpuExit::MmioWrite(address, data) => Self::MmioWrite(address, data),
            VcpuExit::Intr | VcpuExit::IrqWindowOpen | VcpuExit::Hlt => Self::Interrupted,
            VcpuExit::Shutdown => Self::TripleFault,
            VcpuExit::SystemEvent(kind, _) => match kind {
                KVM_SYSTEM_EVENT_SHUTDOWN => Self::PowerOff,
                KVM_SYSTEM_EVENT_RESET | KVM_SYSTEM_EVENT_CRASH => Self::Reset,
                other => Self::Broken(format!("system event {other}")),
            },
            VcpuExit::FailEntry(reason, cpu) => Self::Broken(format!(
                "the processor refused to enter the guest, reason {reason:#x}, CPU {cpu}"
            )),
            VcpuExit::InternalError => Self::Broken("KVM met an instruction that it cannot emulate".into()),
            other => Self::Broken(format!("exit {other:?}")),
        }
    }
}
