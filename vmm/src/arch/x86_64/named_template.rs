//! Firecracker's static CPU templates (`machine-config.cpu_template`), as custom ones.
//!
//! Each makes processors of several generations look alike: T2, T2S, T2CL and T2A like an EC2 `t2` instance, C3 like
//! a `c3`. What each changes is a fact of Firecracker's (`static_cpu_templates`), and so is on which processors it is
//! permitted.

use kvm_bindings::CpuId;

use super::template::TemplateError;
use crate::config::CpuTemplate::{self, C3, T2, T2A, T2CL, T2S};
use crate::config::{Bitmap, CpuConfig, CpuidRegister, LeafModifier, MsrModifier, RegisterModifier};
use CpuidRegister::{Eax, Ebx, Ecx, Edx};

/// `IA32_ARCH_CAPABILITIES`: against which attacks on speculation a processor needs no help (Intel SDM volume 4).
const ARCH_CAPABILITIES: u32 = 0x10a;

/// CPUID leaf 1, EAX: family, model and stepping.
const SKYLAKE: u32 = 0x0005_0654;
const CASCADE_LAKE: u32 = 0x0005_0657;
const ICE_LAKE: u32 = 0x0006_06a6;
const MILAN: u32 = 0x00a0_0f11;
/// The bits of that register which say so; the others are reserved.
const MODEL: u32 = 0x0fff_3fff;

/// Leaf, subleaf, register, the bits that are changed, and what they become.
type Change = (u32, u32, CpuidRegister, u32, u32);

/// What all templates that look like a `t2` have in common.
const T2_ALIKE: [Change; 8] = [
    (0x1, 0, Eax, MODEL, 0x0003_06f2),
    (0x1, 0, Ecx, 0x0004_cdfc, 0),
    (0x1, 0, Edx, 0xe864_1080, 0x1080),
    (0x7, 0, Ebx, 0xffef_da14, 0x200),
    (0x7, 0, Ecx, 0x4041_5f5e, 0),
    (0x7, 0, Edx, 0x11c, 0),
    (0xd, 0, Eax, 0x2f8, 0),
    (0xd, 1, Eax, 0xe, 0),
];
const T2_AND_T2S: [Change; 3] = [
    (0x8000_0001, 0, Ecx, 0x2000_0100, 0),
    (0x8000_0001, 0, Edx, 0x0400_0000, 0),
    (0x8000_0008, 0, Ebx, 0x200, 0),
];
const T2CL_ALONE: [Change; 3] = [
    (0x8000_0001, 0, Ecx, 0x2000_01c0, 0),
    (0x8000_0001, 0, Edx, 0x07c0_0000, 0),
    (0x8000_0008, 0, Ebx, 0x200, 0),
];
const T2A_ALONE: [Change; 3] = [
    (0x8000_0001, 0, Ecx, 0x2000_01c4, 0),
    (0x8000_0001, 0, Edx, 0x0640_0000, 0),
    (0x8000_0008, 0, Ebx, 0x001c_0205, 0x001c_0004),
];
const C3_ALONE: [Change; 10] = [
    (0x1, 0, Eax, MODEL, 0x0003_06e4),
    (0x1, 0, Ecx, 0x0040_dd3c, 0),
    (0x1, 0, Edx, 0xa864_1080, 0x1080),
    (0x7, 0, Ebx, 0xffaf_dd3c, 0),
    (0x7, 0, Ecx, 0x4041_481e, 0),
    (0x7, 0, Edx, 0xc, 0),
    (0xd, 0, Eax, 0x2f8, 0),
    (0xd, 1, Eax, 0xe, 0),
    (0x8000_0001, 0, Ecx, 0x120, 0),
    (0x8000_0001, 0, Edx, 0x0400_0000, 0),
];

/// The custom template that `name` stands for; refused on processors for which it was not made.
pub fn resolve(name: CpuTemplate, supported: &CpuId) -> Result<CpuConfig, TemplateError> {
    let models: &[u32] = match name {
        CpuTemplate::None | CpuTemplate::V1N1 => return Ok(CpuConfig::default()),
        C3 | T2 => &[SKYLAKE, CASCADE_LAKE, ICE_LAKE],
        T2S => &[SKYLAKE, CASCADE_LAKE],
        T2CL => &[CASCADE_LAKE, ICE_LAKE],
        T2A => &[MILAN],
    };
    let leaf = |function| supported.as_slice().iter().find(|entry| entry.function == function);
    let vendor = if name == T2A { *b"AuthenticAMD" } else { *b"GenuineIntel" };
    let host = leaf(0).map(|entry| [entry.ebx, entry.edx, entry.ecx].map(u32::to_le_bytes).concat());
    if host.is_none_or(|host| host != vendor) {
        return Err(TemplateError::Vendor(name));
    }
    if leaf(1).is_none_or(|entry| !models.contains(&(entry.eax & MODEL))) {
        return Err(TemplateError::Model(name));
    }
    Ok(template(name))
}

fn template(name: CpuTemplate) -> CpuConfig {
    let (common, own): (&[Change], &[Change]) = match name {
        C3 => (&C3_ALONE, &[]),
        T2CL => (&T2_ALIKE, &T2CL_ALONE),
        T2A => (&T2_ALIKE, &T2A_ALONE),
        _ => (&T2_ALIKE, &T2_AND_T2S),
    };
    let cpuid_modifiers = common.iter().chain(own).map(|&(leaf, subleaf, register, mask, value)| {
        let bitmap = Bitmap::new(mask.into(), value.into());
        // Only leaves 7 and 0xd have subleaves.
        let flags = u32::from(matches!(leaf, 0x7 | 0xd));
        LeafModifier { leaf, subleaf, flags, modifiers: vec![RegisterModifier { register, bitmap }] }
    });
    let capabilities =
        |mask, value| MsrModifier { addr: ARCH_CAPABILITIES, bitmap: Bitmap::new(mask, value) };
    let msr_modifiers = match name {
        T2S => vec![capabilities(u64::MAX, 0x0c0a_0c4c)],
        T2CL => vec![capabilities(0xffff_ffff_e2f5_1e00, 0)],
        _ => Vec::new(),
    };
    CpuConfig::of(cpuid_modifiers.collect(), msr_modifiers)
}

#[cfg(test)]
mod tests {
    use kvm_bindings::kvm_cpuid_entry2;

    use super::*;
    use crate::arch::x86_64::template::change_cpuid;

    /// What KVM supports on a processor of this vendor and model that has everything else.
    fn host(vendor: [u8; 12], model: u32) -> CpuId {
        let word = |at: usize| u32::from_le_bytes(vendor[at..at + 4].try_into().unwrap());
        let entry = |function, index| kvm_cpuid_entry2 {
            function,
            index,
            eax: if function == 1 { model } else { u32::MAX },
            ebx: if function == 0 { word(0) } else { u32::MAX },
            edx: if function == 0 { word(4) } else { u32::MAX },
            ecx: if function == 0 { word(8) } else { u32::MAX },
            ..Default::default()
        };
        let leaves = [(0, 0), (1, 0), (7, 0), (0xd, 0), (0xd, 1), (0x8000_0001, 0), (0x8000_0008, 0)];
        CpuId::from_entries(&leaves.map(|(leaf, subleaf)| entry(leaf, subleaf))).unwrap()
    }

    #[test]
    fn processors_of_several_generations_look_alike() {
        for (name, models, looks) in [
            (T2, &[SKYLAKE, CASCADE_LAKE, ICE_LAKE][..], 0x0003_06f2),
            (T2S, &[SKYLAKE, CASCADE_LAKE], 0x0003_06f2),
            (T2CL, &[CASCADE_LAKE, ICE_LAKE], 0x0003_06f2),
            (C3, &[SKYLAKE, CASCADE_LAKE, ICE_LAKE], 0x0003_06e4),
        ] {
            for model in models {
                let mut cpuid = host(*b"GenuineIntel", *model);
                let template = resolve(name, &cpuid).unwrap();
                change_cpuid(&mut cpuid, &template).unwrap();
                let leaf = |leaf, subleaf| {
                    let mut entries = cpuid.as_slice().iter();
                    entries.find(|entry| (entry.function, entry.index) == (leaf, subleaf)).unwrap()
                };
                assert_eq!(leaf(1, 0).eax, looks, "{name:?}");
                // AVX-512F (bit 16) and MPX (bit 14) are gone, with the room for their state; AVX stays.
                assert_eq!(leaf(7, 0).ebx & (1 << 16 | 1 << 14), 0);
                assert_eq!((leaf(0xd, 0).eax & 0xff, leaf(0xd, 1).eax & 0xf), (0x7, 0x1));
                // VMX (bit 5) is not for these templates to hide where they leave it: cpuid.rs does.
                assert_eq!(leaf(1, 0).ecx >> 28 & 1, 1);
            }
        }
        let mut cpuid = host(*b"AuthenticAMD", MILAN);
        let template = resolve(T2A, &cpuid).unwrap();
        change_cpuid(&mut cpuid, &template).unwrap();
        assert_eq!(cpuid.as_slice()[6].ebx & 0x001c_0205, 0x001c_0004);
    }

    #[test]
    fn a_template_is_refused_on_a_processor_for_which_it_was_not_made() {
        let message =
            |name, vendor: &[u8; 12], model| resolve(name, &host(*vendor, model)).unwrap_err().to_string();
        assert!(message(T2, b"AuthenticAMD", MILAN).contains("cpu_template T2 is for processors of Intel"));
        assert!(message(T2A, b"GenuineIntel", SKYLAKE).contains("cpu_template T2A is for processors of AMD"));
        assert!(message(T2S, b"GenuineIntel", ICE_LAKE).contains("not for this model"));
        assert!(resolve(T2, &CpuId::new(0).unwrap()).is_err());
        assert_eq!(resolve(CpuTemplate::None, &CpuId::new(0).unwrap()).unwrap(), CpuConfig::default());
    }

    #[test]
    fn attacks_on_speculation_are_told_as_the_template_says() {
        let capabilities = |name, before| template(name).msr_modifiers[0].bitmap.apply(before);
        assert_eq!(capabilities(T2S, 0), 0x0c0a_0c4c);
        assert_eq!(capabilities(T2S, u64::MAX), 0x0c0a_0c4c);
        assert_eq!(capabilities(T2CL, u64::MAX), 0x1d0a_e1ff);
        assert!(template(T2).msr_modifiers.is_empty() && template(C3).msr_modifiers.is_empty());
    }
}
