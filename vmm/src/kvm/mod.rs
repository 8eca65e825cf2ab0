//! KVM: the only module that names `kvm_ioctls`.
//!
//! A [`Vm`] is made from [`Kvm`], a [`Vcpu`] from a [`Vm`]. What a vCPU leaves the guest for is our own
//! [`Exit`], so that nothing else depends on the bindings' enum.

mod exit;
mod gathered;
mod kick;
mod vcpu;
mod vm;

use std::path::Path;

use kvm_bindings::{CpuId, KVM_API_VERSION, KVM_MAX_CPUID_ENTRIES};
use kvm_ioctls::Cap;

use crate::config::Capability;

pub use self::exit::Exit;
pub use self::gathered::{GatheredWrites, Gatherer};
pub use self::kick::Kicker;
pub use self::vcpu::Vcpu;
pub use self::vm::Vm;

/// What KVM may refuse.
#[derive(Debug, thiserror::Error)]
pub enum KvmError {
    /// `/dev/kvm` does not open.
    #[error("Cannot open /dev/kvm")]
    Open(#[source] kvm_ioctls::Error),
    /// The node opens but speaks another version.
    #[error("/dev/kvm speaks API version {0}, not {KVM_API_VERSION}")]
    Version(i32),
    /// This KVM lacks something that every machine needs.
    #[error("This host's KVM has no {0}")]
    Capability(&'static str),
    /// This KVM lacks something that the configuration asks for.
    #[error("This host's KVM has no capability {0}, which cpu-config asks for")]
    AskedCapability(u32),
    /// An operation on the whole virtual machine failed.
    #[error("KVM cannot {0}")]
    Vm(&'static str, #[source] kvm_ioctls::Error),
    /// An operation on one vCPU failed.
    #[error("KVM cannot {operation} vCPU {index}")]
    Vcpu {
        /// What was tried.
        operation: &'static str,
        /// Which vCPU.
        index: u8,
        /// Why not.
        #[source]
        source: kvm_ioctls::Error,
    },
    /// A table for KVM has more rows than KVM takes.
    #[error("KVM takes no more rows in the table of {0}")]
    Table(&'static str),
}

/// An open `/dev/kvm`.
pub struct Kvm {
    kvm: kvm_ioctls::Kvm,
}

impl Kvm {
    /// Opens `/dev/kvm` and checks that it has what every machine needs, with `changes` to that list.
    pub fn open(changes: &[Capability]) -> Result<Self, KvmError> {
        Self::open_at(Path::new("/dev/kvm"), changes)
    }

    fn open_at(path: &Path, changes: &[Capability]) -> Result<Self, KvmError> {
        let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())
            .map_err(|_| KvmError::Open(kvm_ioctls::Error::new(libc::EINVAL)))?;
        let kvm = kvm_ioctls::Kvm::new_with_path(path.as_c_str()).map_err(KvmError::Open)?;
        let version = kvm.get_api_version();
        if version != KVM_API_VERSION as i32 {
            return Err(KvmError::Version(version));
        }
        let needed = [
            (Cap::Irqchip, "interrupt controllers"),
            (Cap::UserMemory, "user memory"),
            (Cap::ImmediateExit, "immediate exit"),
            (Cap::Ioeventfd, "ioeventfd"),
            (Cap::Irqfd, "irqfd"),
        ];
        for (capability, name) in needed {
            let spared = changes.contains(&Capability::Spared(capability as u32));
            if !spared && !kvm.check_extension(capability) {
                return Err(KvmError::Capability(name));
            }
        }
        for change in changes {
            if let Capability::Needed(number) = *change
                && kvm.check_extension_raw(number.into()) <= 0
            {
                return Err(KvmError::AskedCapability(number));
            }
        }
        Ok(Self { kvm })
    }

    /// Makes an empty virtual machine.
    pub fn create_vm(&self) -> Result<Vm, KvmError> {
        Vm::new(&self.kvm)
    }

    /// The CPUID leaves that KVM can show to a guest.
    pub fn supported_cpuid(&self) -> Result<CpuId, KvmError> {
        self.kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(|source| KvmError::Vm("list the CPUID leaves it supports", source))
    }

    /// Whether the in-kernel local APIC has a timer that is armed by a TSC value.
    pub fn has_tsc_deadline_timer(&self) -> bool {
        self.kvm.check_extension(Cap::TscDeadlineTimer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_missing_is_named() {
        let error = Kvm::open_at(Path::new("/nonexistent/kvm"), &[]).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("Cannot open /dev/kvm"));
    }
}
