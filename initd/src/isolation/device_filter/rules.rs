//! Rules on device nodes (`linux.resources.devices`).

use bulkhead_protocol::oci::{Device, DeviceRule};

/// `BPF_DEVCG_ACC_MKNOD`, `_READ` and `_WRITE`.
const MAKE: u8 = 1;
const READ: u8 = 2;
const WRITE: u8 = 4;
const ALL: u8 = MAKE | READ | WRITE;

/// Whether nodes of a kind may be used in some ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Allowed, or refused.
    pub allow: bool,
    /// Block devices, character devices, or both.
    pub block: Option<bool>,
    /// Their major number, or all.
    pub major: Option<u32>,
    /// Their minor number, or all.
    pub minor: Option<u32>,
    /// How they are used, in the kernel's bits.
    pub access: u8,
}

/// A rule with a value that it cannot have.
#[derive(Debug, thiserror::Error)]
#[error("linux.resources.devices.{property} cannot be {value}: {reason}")]
pub struct RuleError {
    property: &'static str,
    value: String,
    reason: &'static str,
}

const fn character(major: u32, minor: Option<u32>) -> Rule {
    Rule { allow: true, block: Some(false), major: Some(major), minor, access: ALL }
}

/// Making a node without opening it, which harms nobody; null, zero, full, random, urandom, tty, console, ptmx
/// and all pseudo-terminals.
pub const STANDARD: [Rule; 10] = [
    Rule { access: MAKE, ..Rule::EVERYTHING },
    character(1, Some(3)),
    character(1, Some(5)),
    character(1, Some(7)),
    character(1, Some(8)),
    character(1, Some(9)),
    character(5, Some(0)),
    character(5, Some(1)),
    character(5, Some(2)),
    character(136, None),
];

impl Rule {
    /// Everything is allowed.
    pub const EVERYTHING: Self = Self { allow: true, block: None, major: None, minor: None, access: ALL };

    /// The rules of a bundle: the specification's, and behind them the standard devices, which every container
    /// has. A container that may use everything has no other rule.
    pub fn of_bundle(rules: &[DeviceRule]) -> Result<Vec<Self>, RuleError> {
        let mut all = rules.iter().map(Self::parse).collect::<Result<Vec<_>, _>>()?;
        if all.last() != Some(&Self::EVERYTHING) {
            all.extend(STANDARD);
        }
        Ok(all)
    }

    /// The rules of a guest's container: the standard devices and its own.
    pub fn of_guest(devices: &[Device]) -> Vec<Self> {
        let own = devices.iter().filter_map(|device| {
            Some(Self {
                block: Some(device.kind == "b"),
                major: Some(u32::try_from(device.major).ok()?),
                minor: Some(u32::try_from(device.minor).ok()?),
                ..Self::EVERYTHING
            })
        });
        STANDARD.into_iter().chain(own).collect()
    }

    fn parse(rule: &DeviceRule) -> Result<Self, RuleError> {
        let block = match rule.kind.as_deref() {
            None | Some("" | "a") => None,
            Some("b") => Some(true),
            Some("c" | "u") => Some(false),
            Some(kind) => return Err(wrong("type", kind, "it is a, b or c")),
        };
        let mut access = 0;
        for letter in rule.access.as_deref().filter(|access| !access.is_empty()).unwrap_or("rwm").chars() {
            access |= match letter {
                'm' => MAKE,
                'r' => READ,
                'w' => WRITE,
                _ => {
                    return Err(wrong("access", rule.access.as_deref().unwrap_or(""), "it is of r, w and m"));
                }
            };
        }
        let (major, minor) = (number("major", rule.major)?, number("minor", rule.minor)?);
        Ok(Self { allow: rule.allow, block, major, minor, access })
    }
}

fn wrong(property: &'static str, value: &str, reason: &'static str) -> RuleError {
    RuleError { property, value: value.to_owned(), reason }
}

fn number(property: &'static str, number: Option<i64>) -> Result<Option<u32>, RuleError> {
    match number {
        None | Some(-1) => Ok(None),
        Some(number) => u32::try_from(number)
            .map(Some)
            .map_err(|_| wrong(property, &number.to_string(), "it is a device number, or -1 for all")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_as_they_are_written() {
        let rule = |kind: Option<&str>, major, access: Option<&str>| DeviceRule {
            allow: true,
            kind: kind.map(ToOwned::to_owned),
            major,
            minor: None,
            access: access.map(ToOwned::to_owned),
        };
        assert_eq!(Rule::parse(&rule(None, Some(-1), None)).unwrap(), Rule::EVERYTHING);
        assert_eq!(Rule::of_bundle(&[rule(Some("a"), None, Some("rwm"))]).unwrap(), [Rule::EVERYTHING]);
        let one = Rule::parse(&rule(Some("c"), Some(10), Some("rw"))).unwrap();
        assert_eq!((one.block, one.major, one.access), (Some(false), Some(10), 6));
        assert!(Rule::parse(&rule(Some("x"), None, None)).is_err());
        assert!(Rule::parse(&rule(None, Some(-2), None)).is_err());
        assert!(Rule::parse(&rule(None, None, Some("rx"))).is_err());
        assert_eq!(Rule::of_bundle(&[]).unwrap(), STANDARD);
    }
}
