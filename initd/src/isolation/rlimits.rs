//! Resource limits of a container's process.

use std::io;

use bulkhead_protocol::oci::Rlimit;
use rustix::io::Errno;
use rustix::process::{Pid, Resource, getrlimit, prlimit, setrlimit};

/// What goes wrong with resource limits.
#[derive(Debug, thiserror::Error)]
pub enum RlimitError {
    /// No limit has that name.
    #[error("process.rlimits names {0}, and there is no such limit")]
    Unknown(String),
    /// A limit is named more than once.
    #[error("process.rlimits names {0} twice")]
    Twice(String),
    /// The soft limit is above the hard one.
    #[error("process.rlimits has {0} higher than its ceiling")]
    Order(String),
    /// The kernel refused it.
    #[error("Cannot set the resource limit {kind}")]
    Set {
        /// Its name.
        kind: String,
        /// Why.
        source: io::Error,
    },
}

/// What a container gets where its specification is silent: few files to begin with, many to ask for.
const NOFILE: (u64, u64) = (1024, 524_288);

/// Says what is wrong with the limits, before anything is made.
pub fn check(limits: &[Rlimit]) -> Result<(), RlimitError> {
    for (index, limit) in limits.iter().enumerate() {
        resource(&limit.kind)?;
        if limits[..index].iter().any(|other| other.kind == limit.kind) {
            return Err(RlimitError::Twice(limit.kind.clone()));
        }
        if limit.soft > limit.hard {
            return Err(RlimitError::Order(limit.kind.clone()));
        }
    }
    Ok(())
}

/// Sets the limits of the calling process.
pub fn apply(limits: &[Rlimit]) -> Result<(), RlimitError> {
    limits.iter().try_for_each(|limit| set(&limit.kind, limit.soft, limit.hard))
}

/// Sets the limits of the calling process, and those that every container of a guest gets.
pub fn apply_with_defaults(limits: &[Rlimit]) -> Result<(), RlimitError> {
    all(limits).try_for_each(|(kind, soft, hard)| set(kind, soft, hard))
}

fn set(kind: &str, soft: u64, hard: u64) -> Result<(), RlimitError> {
    let limit = rustix::process::Rlimit { current: value(soft), maximum: value(hard) };
    setrlimit(resource(kind)?, limit).map_err(failed(kind))
}

/// Raises the ceilings of another process, our child, so that it can [`apply`] the limits without privileges of
/// the guest's.
pub fn raise(pid: i32, limits: &[Rlimit]) -> Result<(), RlimitError> {
    for (kind, _, hard) in all(limits) {
        let resource = resource(kind)?;
        let inherited = getrlimit(resource);
        // None is no limit, and so above every other.
        let maximum = inherited.maximum.zip(value(hard)).map(|(old, new)| old.max(new));
        let limit = rustix::process::Rlimit { current: inherited.current, maximum };
        prlimit(Pid::from_raw(pid), resource, limit).map_err(failed(kind))?;
    }
    Ok(())
}

/// The limits that are asked for, and those that every container gets.
fn all(limits: &[Rlimit]) -> impl Iterator<Item = (&str, u64, u64)> {
    let silent = !limits.iter().any(|limit| limit.kind == "RLIMIT_NOFILE");
    let default = silent.then_some(("RLIMIT_NOFILE", NOFILE.0, NOFILE.1));
    default.into_iter().chain(limits.iter().map(|limit| (limit.kind.as_str(), limit.soft, limit.hard)))
}

/// All bits set is the kernel's word for no limit, and rustix's is `None`.
fn value(limit: u64) -> Option<u64> {
    (limit != u64::MAX).then_some(limit)
}

fn failed(kind: &str) -> impl FnOnce(Errno) -> RlimitError {
    move |error| RlimitError::Set { kind: kind.to_owned(), source: error.into() }
}

fn resource(kind: &str) -> Result<Resource, RlimitError> {
    Ok(match kind {
        "RLIMIT_AS" => Resource::As,
        "RLIMIT_CORE" => Resource::Core,
        "RLIMIT_CPU" => Resource::Cpu,
        "RLIMIT_DATA" => Resource::Data,
        "RLIMIT_FSIZE" => Resource::Fsize,
        "RLIMIT_LOCKS" => Resource::Locks,
        "RLIMIT_MEMLOCK" => Resource::Memlock,
        "RLIMIT_MSGQUEUE" => Resource::Msgqueue,
        "RLIMIT_NICE" => Resource::Nice,
        "RLIMIT_NOFILE" => Resource::Nofile,
        "RLIMIT_NPROC" => Resource::Nproc,
        "RLIMIT_RSS" => Resource::Rss,
        "RLIMIT_RTPRIO" => Resource::Rtprio,
        "RLIMIT_RTTIME" => Resource::Rttime,
        "RLIMIT_SIGPENDING" => Resource::Sigpending,
        "RLIMIT_STACK" => Resource::Stack,
        _ => return Err(RlimitError::Unknown(kind.to_owned())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(kind: &str, soft: u64, hard: u64) -> Rlimit {
        Rlimit { kind: kind.into(), soft, hard }
    }

    #[test]
    fn unknown_and_reversed_limits_are_refused() {
        assert!(check(&[limit("RLIMIT_NOFILE", 1, 2), limit("RLIMIT_CORE", 0, u64::MAX)]).is_ok());
        assert!(matches!(check(&[limit("NOFILE", 1, 2)]), Err(RlimitError::Unknown(_))));
        assert!(matches!(check(&[limit("RLIMIT_NOFILE", 3, 2)]), Err(RlimitError::Order(_))));
    }
}
