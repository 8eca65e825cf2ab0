//! What a specification may say of the container. What only the guest's kernel can tell is told by the start.

use bulkhead_image::granted_capabilities;
use bulkhead_protocol::oci::Rlimit;

use super::{guest_path, invalid};
use crate::service::error::ServiceError;
use crate::service::model::{ContainerSpec, TmpfsSpec, Ulimit};

/// The limits of `getrlimit(2)`, as shells name them.
const ULIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];
/// The most capabilities in a list, limits, mounts and options of a mount.
const MAX_CAPABILITIES: usize = 64;
const MAX_ULIMITS: usize = 16;
const MAX_TMPFS: usize = 32;
/// The most kernel parameters, and bytes of one.
const MAX_SYSCTLS: usize = 64;
const MAX_VALUE: usize = 1024;
/// The largest filter of system calls, in bytes of JSON.
const MAX_SECCOMP: usize = 256 << 10;

/// Everything that is said of it.
pub fn container(spec: &ContainerSpec) -> Result<(), ServiceError> {
    let (add, drop) = (&spec.cap_add, &spec.cap_drop);
    if add.len() > MAX_CAPABILITIES || drop.len() > MAX_CAPABILITIES {
        return Err(invalid("container.cap_add", format!("a list names more than {MAX_CAPABILITIES}")));
    }
    granted_capabilities(add, &[]).map_err(|error| invalid("container.cap_add", error.to_string()))?;
    granted_capabilities(&[], drop).map_err(|error| invalid("container.cap_drop", error.to_string()))?;
    if let Some(seccomp) = &spec.seccomp {
        let length = serde_json::to_vec(seccomp).map_or(usize::MAX, |text| text.len());
        if length > MAX_SECCOMP {
            return Err(invalid("container.seccomp", format!("it is longer than {MAX_SECCOMP} bytes")));
        }
    }
    if spec.tmpfs.len() > MAX_TMPFS || spec.ulimits.len() > MAX_ULIMITS {
        return Err(invalid(
            "container.tmpfs",
            format!("there are more than {MAX_TMPFS}, or limits than {MAX_ULIMITS}"),
        ));
    }
    spec.tmpfs.iter().try_for_each(tmpfs)?;
    rlimits(&spec.ulimits)?;
    if spec.sysctls.len() > MAX_SYSCTLS {
        return Err(invalid("container.sysctls", format!("there are more than {MAX_SYSCTLS}")));
    }
    spec.sysctls.iter().try_for_each(|(name, value)| sysctl(name, value))
}

/// The limits in the runtime specification's words.
pub fn rlimits(limits: &[Ulimit]) -> Result<Vec<Rlimit>, ServiceError> {
    let wrong = |name: &str, why: &str| invalid("container.ulimits", format!("{name:?} {why}"));
    let rlimit = |(index, limit): (usize, &Ulimit)| {
        let name = limit.name.as_str();
        if !ULIMITS.contains(&name) {
            return Err(wrong(name, "is no limit"));
        }
        if limits.iter().take(index).any(|other| other.name == name) {
            return Err(wrong(name, "is named twice"));
        }
        let (soft, hard) = (limit.soft.unwrap_or(u64::MAX), limit.hard.unwrap_or(u64::MAX));
        if soft > hard {
            return Err(wrong(name, "is higher than it can be raised to"));
        }
        Ok(Rlimit { kind: format!("RLIMIT_{}", name.to_ascii_uppercase()), soft, hard })
    };
    limits.iter().enumerate().map(rlimit).collect()
}

fn tmpfs(spec: &TmpfsSpec) -> Result<(), ServiceError> {
    let field = "container.tmpfs";
    guest_path(field, &spec.destination)?;
    let good = |option: &String| {
        (1..=256).contains(&option.len())
            && option.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
    };
    if spec.destination.split('/').any(|part| part == "..")
        || spec.destination.bytes().all(|byte| byte == b'/')
    {
        return Err(invalid(field, "it is mounted below the root"));
    }
    if spec.options.len() > MAX_TMPFS || !spec.options.iter().all(good) {
        return Err(invalid(field, format!("it has up to {MAX_TMPFS} options without commas or spaces")));
    }
    Ok(())
}

fn sysctl(name: &str, value: &str) -> Result<(), ServiceError> {
    let part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    };
    if name.len() > MAX_VALUE || !name.contains('.') || !name.split('.').all(part) {
        return Err(invalid(
            "container.sysctls",
            format!("{:?} is no kernel parameter", name.chars().take(80).collect::<String>()),
        ));
    }
    if value.len() > MAX_VALUE || value.contains('\0') {
        return Err(invalid(
            "container.sysctls",
            format!("a value has up to {MAX_VALUE} bytes and no NUL character"),
        ));
    }
    Ok(())
}
