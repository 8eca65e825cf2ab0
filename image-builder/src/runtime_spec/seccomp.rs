//! Profiles of system calls as people have them: Docker's, which name capabilities, architectures and kernels that a
//! rule is for, or the runtime specification's own `linux.seccomp`.

use bulkhead_protocol::oci::{Seccomp, SyscallRule};
use serde::Deserialize;

/// The largest profile, in bytes; Docker's default one has 14 KiB.
const MAX_LENGTH: usize = 256 << 10;
/// What Docker calls the architecture of guests, and the runtime specification.
const ARCHITECTURE: (&str, &str) = ("amd64", "SCMP_ARCH_X86_64");
/// The kernel of guests: what a rule asks for at least is held against it.
const KERNEL: (u32, u32) = (6, 1);

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// It is too long.
    #[error("the profile is longer than {MAX_LENGTH} bytes")]
    Long,
    /// It is no JSON of that shape.
    #[error("it is no seccomp profile")]
    Shape(#[from] serde_json::Error),
    /// A kernel that is no `MAJOR.MINOR`.
    #[error("minKernel {0:?} is no kernel's version")]
    Kernel(String),
}

/// Docker's profile; one of the runtime specification is one, too.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    arch_map: Vec<Architecture>,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    syscalls: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Architecture {
    architecture: String,
    #[serde(default)]
    sub_architectures: Vec<String>,
}

#[derive(Deserialize)]
struct Rule {
    /// Older profiles have one name a rule.
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    includes: Option<When>,
    #[serde(default)]
    excludes: Option<When>,
    #[serde(flatten)]
    rule: serde_json::Map<String, serde_json::Value>,
}

/// What a rule is for, or not for.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct When {
    caps: Vec<String>,
    arches: Vec<String>,
    min_kernel: Option<String>,
}

/// Reads a profile for a container that has `capabilities` (`CAP_…`).
pub fn profile(text: &str, capabilities: &[String]) -> Result<Seccomp, SeccompError> {
    if text.len() > MAX_LENGTH {
        return Err(SeccompError::Long);
    }
    let profile: Profile = serde_json::from_str(text)?;
    let mut architectures = profile.architectures;
    let ours = profile.arch_map.into_iter().filter(|each| each.architecture == ARCHITECTURE.1);
    architectures
        .extend(ours.flat_map(|each| std::iter::once(each.architecture).chain(each.sub_architectures)));
    let mut syscalls = Vec::new();
    for rule in profile.syscalls {
        if rule.applies(capabilities)? {
            syscalls.push(rule.plain()?);
        }
    }
    Ok(Seccomp {
        default_action: profile.default_action,
        default_errno_ret: profile.default_errno_ret,
        architectures,
        flags: profile.flags,
        syscalls,
        ..Seccomp::default()
    })
}

impl Rule {
    fn applies(&self, capabilities: &[String]) -> Result<bool, SeccompError> {
        let (wanted, unwanted) = (self.includes.as_ref(), self.excludes.as_ref());
        let included = match wanted {
            None => true,
            Some(when) => {
                when.caps.iter().all(|name| capabilities.contains(name))
                    && (when.arches.is_empty() || when.is_ours())
                    && when.kernel()?.is_none_or(|least| least <= KERNEL)
            }
        };
        let excluded = match unwanted {
            None => false,
            Some(when) => {
                when.caps.iter().any(|name| capabilities.contains(name))
                    || when.is_ours()
                    || when.kernel()?.is_some_and(|least| least <= KERNEL)
            }
        };
        Ok(included && !excluded)
    }

    /// The rule in the runtime specification's words.
    fn plain(self) -> Result<SyscallRule, SeccompError> {
        let mut rule = self.rule;
        if let Some(name) = self.name {
            rule.insert("names".to_owned(), vec![name].into());
        }
        // Both say that there are none.
        rule.retain(|_, value| !value.is_null());
        Ok(serde_json::from_value(rule.into())?)
    }
}

impl When {
    fn is_ours(&self) -> bool {
        self.arches.iter().any(|name| name == ARCHITECTURE.0)
    }

    fn kernel(&self) -> Result<Option<(u32, u32)>, SeccompError> {
        let Some(text) = &self.min_kernel else { return Ok(None) };
        let version =
            text.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        version.map(Some).ok_or_else(|| SeccompError::Kernel(text.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKERS: &str = r#"{
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]}],
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": null},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["new"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.9"}},
            {"names": ["breakpoint"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm"]}},
            {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "x32"]}},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"name": "old", "action": "SCMP_ACT_ALLOW",
             "args": [{"index": 0, "value": 8, "valueTwo": 0, "op": "SCMP_CMP_EQ"}], "comment": "x"}
        ]}"#;

    fn names(capabilities: &[&str]) -> String {
        let seccomp = profile(DOCKERS, &super::super::owned(capabilities)).unwrap();
        seccomp.syscalls.iter().flat_map(|rule| rule.names.clone()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_rule_counts_where_it_is_for_this_machine() {
        assert_eq!(names(&[]), "read ptrace arch_prctl clone3 old");
        assert_eq!(names(&["CAP_SYS_ADMIN"]), "read ptrace arch_prctl mount old");
        let seccomp = profile(DOCKERS, &[]).unwrap();
        assert_eq!(seccomp.architectures, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
        assert_eq!(seccomp.syscalls[3].errno_ret, Some(38));
        assert_eq!((seccomp.syscalls[4].args[0].value, seccomp.default_errno_ret), (8, Some(1)));
    }

    #[test]
    fn the_specifications_own_form_stays_as_it_is() {
        let text = r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]}"#;
        let seccomp = profile(text, &[]).unwrap();
        assert_eq!(seccomp, serde_json::from_str(text).unwrap());
    }

    #[test]
    fn what_is_no_profile_is_refused() {
        for text in ["", "[]", "{}", r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"]}]}"#]
        {
            assert!(matches!(profile(text, &[]), Err(SeccompError::Shape(_))), "{text}");
        }
        let kernel = DOCKERS.replace("4.8", "new");
        assert!(matches!(profile(&kernel, &[]), Err(SeccompError::Kernel(_))));
        assert!(matches!(profile(&" ".repeat(MAX_LENGTH + 1), &[]), Err(SeccompError::Long)));
    }
}
