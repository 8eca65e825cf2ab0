//! A custom CPU template (`cpu-config`) put to work.
//!
//! CPUID's leaves are changed before [`super::cpuid`] cuts and completes them: topology, the hypervisor's bit and
//! the absence of nested virtualization are not for a template to change. Registers are changed before the
//! values that a kernel's entry needs are set.

use kvm_bindings::CpuId;

use crate::config::{CpuConfig, CpuTemplate, CpuidRegister};
use crate::kvm::{KvmError, Vcpu};

/// Why a template cannot be put to work.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The host's processor or KVM has no such leaf.
    #[error("cpu-config changes CPUID leaf {0:#x}, subleaf {1:#x}, which this host does not support")]
    Leaf(u32, u32),
    /// The host's processor or KVM has no such register.
    #[error("cpu-config changes MSR {0:#x}, which this host does not support")]
    Msr(u32),
    /// KVM takes the register but not the value.
    #[error("cpu-config sets MSR {0:#x} to {1:#x}, which this host refuses")]
    MsrValue(u32, u64),
    /// The host's processor is another maker's.
    #[error("cpu_template {0:?} is for processors of {maker}, which this host's is not", maker = maker(*.0))]
    Vendor(CpuTemplate),
    /// The host's processor is another one.
    #[error("cpu_template {0:?} is not for this model of processor; cpu-config takes custom templates")]
    Model(CpuTemplate),
    /// KVM failed.
    #[error(transparent)]
    Kvm(#[from] KvmError),
}

/// Whose processors a template was made for.
fn maker(name: CpuTemplate) -> &'static str {
    if name == CpuTemplate::T2A { "AMD" } else { "Intel" }
}

/// Changes the leaves that KVM supports.
pub fn change_cpuid(supported: &mut CpuId, template: &CpuConfig) -> Result<(), TemplateError> {
    for leaf in &template.cpuid_modifiers {
        let entry = supported
            .as_mut_slice()
            .iter_mut()
            .find(|entry| (entry.function, entry.index) == (leaf.leaf, leaf.subleaf))
            .ok_or(TemplateError::Leaf(leaf.leaf, leaf.subleaf))?;
        for modifier in &leaf.modifiers {
            let register = match modifier.register {
                CpuidRegister::Eax => &mut entry.eax,
                CpuidRegister::Ebx => &mut entry.ebx,
                CpuidRegister::Ecx => &mut entry.ecx,
                CpuidRegister::Edx => &mut entry.edx,
            };
            *register = modifier.bitmap.apply(*register);
        }
        entry.flags = leaf.flags;
    }
    Ok(())
}

/// Changes the registers of `vcpu`.
pub fn change_msrs(vcpu: &Vcpu, template: &CpuConfig) -> Result<(), TemplateError> {
    for modifier in &template.msr_modifiers {
        let value = vcpu.msr(modifier.addr)?.ok_or(TemplateError::Msr(modifier.addr))?;
        let value = modifier.bitmap.apply(value);
        if !vcpu.set_msr(modifier.addr, value)? {
            return Err(TemplateError::MsrValue(modifier.addr, value));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kvm_bindings::kvm_cpuid_entry2;
    use serde_json::json;

    use super::*;

    #[test]
    fn leaves_are_changed_and_those_that_are_not_there_named() {
        let entry = kvm_cpuid_entry2 { function: 7, index: 1, ecx: 0b1100, ..Default::default() };
        let mut cpuid = CpuId::from_entries(&[entry]).unwrap();
        let template = |subleaf: &str| -> CpuConfig {
            let modifier = json!({"register": "ecx", "bitmap": "0b0xx1"});
            let leaf = json!({"leaf": "0x7", "subleaf": subleaf, "flags": 1, "modifiers": [modifier]});
            serde_json::from_value(json!({"cpuid_modifiers": [leaf]})).unwrap()
        };
        change_cpuid(&mut cpuid, &template("0x1")).unwrap();
        assert_eq!((cpuid.as_slice()[0].ecx, cpuid.as_slice()[0].flags), (0b0101, 1));
        let message = change_cpuid(&mut cpuid, &template("0x2")).unwrap_err().to_string();
        assert!(message.contains("leaf 0x7, subleaf 0x2"), "{message}");
    }
}
