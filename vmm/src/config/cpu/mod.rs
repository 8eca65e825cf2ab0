//! `cpu-config`: Firecracker's custom CPU templates, which change what processors show to the guest.

mod bitmap;
mod source;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use self::bitmap::Bitmap;
pub use self::source::template_or_path;
use super::{ConfigError, NotYet};

/// The most modifiers of one kind; a processor has fewer leaves and registers.
const MAX_MODIFIERS: usize = 512;

/// A custom CPU template.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CpuConfig {
    /// What KVM must have besides what every machine needs, and what it need not have.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub kvm_capabilities: Vec<Capability>,
    /// What the CPUID instruction shows.
    #[serde(default)]
    pub cpuid_modifiers: Vec<LeafModifier>,
    /// What model-specific registers hold at the start.
    #[serde(default)]
    pub msr_modifiers: Vec<MsrModifier>,
    #[serde(default, skip_serializing)]
    reg_modifiers: Option<NotYet>,
    #[serde(default, skip_serializing)]
    vcpu_features: Option<NotYet>,
}

/// A capability's number of KVM (`KVM_CAP_*` of `linux/kvm.h`); `"!56"` is one that is not looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// KVM must have it.
    Needed(u32),
    /// KVM need not have it.
    Spared(u32),
}

/// Changes to one leaf of CPUID.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = CpuidLeafModifier))]
pub struct LeafModifier {
    /// EAX of the instruction.
    #[serde(deserialize_with = "number", serialize_with = "hexadecimal")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub leaf: u32,
    /// ECX of the instruction.
    #[serde(deserialize_with = "number", serialize_with = "hexadecimal")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub subleaf: u32,
    /// KVM's flags of the leaf: 1 when the subleaf matters.
    pub flags: u32,
    /// The changes.
    pub modifiers: Vec<RegisterModifier>,
}

/// Changes to one register of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = CpuidRegisterModifier))]
pub struct RegisterModifier {
    /// Which register.
    pub register: CpuidRegister,
    /// Its bits.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub bitmap: Bitmap<u32>,
}

/// A register that CPUID fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "their names say what they are")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum CpuidRegister {
    Eax,
    Ebx,
    Ecx,
    Edx,
}

/// Changes to one model-specific register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MsrModifier {
    /// Its number.
    #[serde(deserialize_with = "number", serialize_with = "hexadecimal")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub addr: u32,
    /// Its bits.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub bitmap: Bitmap<u64>,
}

impl CpuConfig {
    /// A template of these changes.
    pub fn of(cpuid_modifiers: Vec<LeafModifier>, msr_modifiers: Vec<MsrModifier>) -> CpuConfig {
        CpuConfig { cpuid_modifiers, msr_modifiers, ..CpuConfig::default() }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let refused = |message: String| Err(ConfigError::invalid("cpu-config", message));
        for (name, value) in [("reg_modifiers", &self.reg_modifiers), ("vcpu_features", &self.vcpu_features)]
        {
            if value.as_ref().is_some_and(NotYet::asks) {
                return refused(format!("{name} is for ARM processors; this VMM runs on x86-64"));
            }
        }
        let modifiers = [
            ("kvm_capabilities", self.kvm_capabilities.len()),
            ("cpuid_modifiers", self.cpuid_modifiers.len()),
            ("msr_modifiers", self.msr_modifiers.len()),
        ];
        match modifiers.iter().find(|(_, count)| *count > MAX_MODIFIERS) {
            Some((name, _)) => refused(format!("{name} has more than {MAX_MODIFIERS} entries")),
            None => Ok(()),
        }
    }
}

impl Serialize for Capability {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Needed(number) => serializer.collect_str(number),
            Self::Spared(number) => serializer.collect_str(&format_args!("!{number}")),
        }
    }
}

impl<'de> Deserialize<'de> for Capability {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (digits, spared) = match text.strip_prefix('!') {
            Some(digits) => (digits, true),
            None => (text.as_str(), false),
        };
        let number = decimal(digits)
            .ok_or_else(|| de::Error::custom(format!("{text:?} is not a KVM capability's number")))?;
        Ok(if spared { Self::Spared(number) } else { Self::Needed(number) })
    }
}

/// Digits alone: Rust's own parser takes a sign, too.
fn decimal(digits: &str) -> Option<u32> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// A number as Firecracker writes them: `"0x1f"` or `"0b1_1111"` without the separator.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = match (text.strip_prefix("0x"), text.strip_prefix("0b")) {
        (Some(digits), _) => u32::from_str_radix(digits, 16).ok(),
        (_, Some(digits)) => u32::from_str_radix(digits, 2).ok(),
        _ => None,
    };
    parsed.filter(|_| !text.contains('+')).ok_or_else(|| {
        de::Error::custom(format!("{text:?} is not a number of 32 bits that starts with 0x or 0b"))
    })
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's shape")]
fn hexadecimal<S: Serializer>(number: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{number:#x}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(value: serde_json::Value) -> Result<CpuConfig, String> {
        let config: CpuConfig = serde_json::from_value(value).map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.to_string()).map(|()| config)
    }

    #[test]
    fn firecrackers_own_example_is_taken_and_written_back() {
        let example = json!({
            "kvm_capabilities": ["!56", "171"],
            "cpuid_modifiers": [{"leaf": "0x1", "subleaf": "0x0", "flags": 0, "modifiers": [
                {"register": "eax", "bitmap": "0bxxxx000000000011xx00011011110010"}]}],
            "msr_modifiers": [{"addr": "0x10a", "bitmap": format!("0b{}", "0".repeat(64))}],
        });
        let config = parse(example.clone()).unwrap();
        assert_eq!(config.kvm_capabilities, [Capability::Spared(56), Capability::Needed(171)]);
        assert_eq!(config.cpuid_modifiers[0].modifiers[0].bitmap.apply(!0), 0xf003_c6f2);
        assert_eq!(serde_json::to_value(&config).unwrap(), example);
        assert_eq!(parse(json!({})).unwrap(), CpuConfig::default());
        parse(json!({"reg_modifiers": [], "vcpu_features": null})).unwrap();
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let leaf = |leaf: &str, register: &str, bitmap: &str| {
            json!({"cpuid_modifiers": [{"leaf": leaf, "subleaf": "0x0", "flags": 0,
                   "modifiers": [{"register": register, "bitmap": bitmap}]}]})
        };
        let cases = [
            (json!({"reg_modifiers": [{"addr": "0x1", "bitmap": "0b1"}]}), "reg_modifiers is for ARM"),
            (json!({"vcpu_features": [{"index": 0, "bitmap": "0b1"}]}), "vcpu_features is for ARM"),
            (json!({"colour": "red"}), "unknown field `colour`"),
            (json!({"kvm_capabilities": ["+1"]}), "\"+1\" is not a KVM capability"),
            (json!({"kvm_capabilities": ["!"]}), "\"!\" is not a KVM capability"),
            (json!({"kvm_capabilities": vec!["1"; 513]}), "more than 512"),
            (leaf("1", "eax", "0b1"), "\"1\" is not a number"),
            (leaf("0x+1", "eax", "0b1"), "\"0x+1\" is not a number"),
            (leaf("0x100000000", "eax", "0b1"), "is not a number"),
            (leaf("0x1", "EAX", "0b1"), "unknown variant `EAX`"),
            (leaf("0x1", "eax", "0b12"), "'2'"),
            (leaf("0x1", "eax", &format!("0b{}", "x".repeat(33))), "more than 32 bits"),
            (json!({"msr_modifiers": [{"addr": "0x1", "bitmap": "1".repeat(65)}]}), "more than 64 bits"),
            (json!({"msr_modifiers": [{"addr": "0x1"}]}), "missing field `bitmap`"),
        ];
        for (value, expected) in cases {
            let message = parse(value.clone()).unwrap_err();
            assert!(message.contains(expected), "{value}: {message}");
        }
    }
}
