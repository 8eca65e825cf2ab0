//! Says what is wrong with a container that is asked for, before anything is made.

use bulkhead_protocol::agent::CreateContainer;
use bulkhead_protocol::oci::{Hooks, NamespaceKind, Process, Spec};

use crate::isolation::capabilities::{CapabilityError, Sets};
use crate::isolation::rlimits::{self, RlimitError};
use crate::isolation::schedule::{self, ScheduleError};
use crate::isolation::seccomp::{Program, SeccompError};
use crate::isolation::user_namespace::{MappingError, Maps};
use crate::rootfs::{RootfsError, device, mounts, nodes};

/// The most of anything that a specification lists.
const MAX_ENTRIES: usize = 1024;

/// What can be wrong with a specification.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The id is none.
    #[error("The id {0} is not 1 to 64 of a-z, A-Z, 0-9, `_`, `.` and `-`, the first a letter or a digit")]
    Id(String),
    /// A property has a value that it cannot have.
    #[error("{property} cannot be {value}: {reason}")]
    Value {
        /// The property, as the specification names it.
        property: &'static str,
        /// Its value.
        value: String,
        /// Why not.
        reason: &'static str,
    },
    /// A list is too long.
    #[error("{0} has more than {MAX_ENTRIES} entries")]
    TooMany(&'static str),
    /// The user namespace's maps are wrong.
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// The mounts, volumes or devices are wrong.
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    /// The capabilities are wrong.
    #[error(transparent)]
    Capability(#[from] CapabilityError),
    /// The resource limits are wrong.
    #[error(transparent)]
    Rlimit(#[from] RlimitError),
    /// What says when it runs is wrong.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// The system call filter is wrong.
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
}

fn wrong(property: &'static str, value: &str, reason: &'static str) -> SpecError {
    SpecError::Value { property, value: value.to_owned(), reason }
}

/// Looks at everything that can be looked at without the container's disks.
pub fn check(request: &CreateContainer) -> Result<(), SpecError> {
    check_id(&request.id)?;
    let spec = &request.spec;
    check_process(spec)?;
    check_namespaces(spec)?;
    check_lengths(request)?;
    if let Some(name) = spec.hostname.as_deref().filter(|name| !crate::boot::cmdline::is_hostname(name)) {
        return Err(wrong("hostname", name, "a host name is 1 to 64 of a-z, A-Z, 0-9, `-`, `_` and `.`"));
    }
    let maps = Maps::parse(&spec.linux)?;
    if let Some(maps) = &maps {
        check_ids(spec, maps)?;
    }
    for name in spec.linux.sysctl.keys() {
        super::shape::check_sysctl(name, super::shape::own_network(spec), maps.is_some())
            .map_err(|reason| wrong("linux.sysctl", name, reason))?;
    }
    mounts::check(&spec.mounts)?;
    nodes::check(&spec.linux.devices)?;
    device::check(&request.root.device)?;
    for volume in &request.volumes {
        device::check(&volume.device)?;
        mounts::check_destination(&volume.destination)
            .map_err(|reason| RootfsError::Refused { target: volume.destination.clone(), reason })?;
    }
    rlimits::check(&spec.process.rlimits)?;
    schedule::check(&spec.process, spec.linux.personality.as_ref())?;
    check_absent(spec)?;
    let capabilities = Sets::parse(spec.process.capabilities.as_ref())?;
    Program::build(spec.linux.seccomp.as_ref(), &capabilities)?;
    Ok(())
}

/// A container's id is also the name of its cgroup.
fn check_id(id: &str) -> Result<(), SpecError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let right = (1..=64).contains(&id.len())
        && id.bytes().all(plain)
        && id.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if right { Ok(()) } else { Err(SpecError::Id(id.chars().take(80).collect())) }
}

fn check_process(spec: &Spec) -> Result<(), SpecError> {
    if spec.process.terminal {
        return Err(wrong("process.terminal", "true", "terminals are not offered yet"));
    }
    process(&spec.process)
}

/// What holds for every program of a container.
pub fn process(process: &Process) -> Result<(), SpecError> {
    match process.args.first().map(String::as_str) {
        None => return Err(wrong("process.args", "empty", "its first word is the program to run")),
        Some("") => return Err(wrong("process.args", "\"\"", "its first word is the program to run")),
        Some(_) => {}
    }
    if !process.cwd.is_empty() && !process.cwd.starts_with('/') {
        return Err(wrong("process.cwd", &process.cwd, "it is an absolute path"));
    }
    if process.cwd.split('/').any(|part| part == "..") {
        return Err(wrong("process.cwd", &process.cwd, "it has a component `..`"));
    }
    let zero = |text: &&String| text.contains('\0');
    if let Some(text) = process.args.iter().chain(&process.env).chain([&process.cwd]).find(zero) {
        return Err(wrong("process", &text.replace('\0', "\\0"), "a zero byte ends a word"));
    }
    if let Some(text) = process.env.iter().find(|text| !text.contains('=') || text.starts_with('=')) {
        return Err(wrong("process.env", text, "it is NAME=VALUE"));
    }
    let user = &process.user;
    if [user.uid, user.gid].iter().chain(&user.additional_gids).any(|id| *id == u32::MAX) {
        return Err(wrong("process.user", "4294967295", "the kernel keeps this id for `no id`"));
    }
    if let Some(adjustment) = process.oom_score_adj.filter(|value| !(-1000..=1000).contains(value)) {
        return Err(wrong("process.oomScoreAdj", &adjustment.to_string(), "it is -1000 to 1000"));
    }
    Ok(())
}

fn check_namespaces(spec: &Spec) -> Result<(), SpecError> {
    for namespace in &spec.linux.namespaces {
        if let Some(path) = &namespace.path {
            return Err(wrong("linux.namespaces.path", path, "joining a namespace is not offered yet"));
        }
        if namespace.kind == NamespaceKind::Time {
            return Err(wrong("linux.namespaces.type", "time", "this namespace is not offered yet"));
        }
    }
    if let Some(path) = spec.linux.cgroups_path.as_deref() {
        let name = path.trim_matches('/');
        if name.contains('/') || check_id(name).is_err() {
            return Err(wrong("linux.cgroupsPath", path, "it is one name, made like an id"));
        }
    }
    Ok(())
}

/// What a guest has nothing for is refused, and not left out in silence.
fn check_absent(spec: &Spec) -> Result<(), SpecError> {
    let set = |value: &Option<String>| value.as_deref().is_some_and(|value| !value.is_empty());
    let asked = [
        ("process.apparmorProfile", set(&spec.process.apparmor_profile)),
        ("process.selinuxLabel", set(&spec.process.selinux_label)),
        ("linux.mountLabel", set(&spec.linux.mount_label)),
        ("linux.intelRdt", spec.linux.intel_rdt.is_some()),
        ("linux.rootfsPropagation", set(&spec.linux.rootfs_propagation)),
        ("hooks", spec.hooks.as_ref().is_some_and(|hooks| *hooks != Hooks::default())),
    ];
    match asked.into_iter().find(|(_, asked)| *asked) {
        Some((property, _)) => Err(wrong(property, "set", "a guest has nothing of the kind")),
        None => Ok(()),
    }
}

/// Ids that the user namespace does not have cannot be taken on. A `username` is looked up later.
fn check_ids(spec: &Spec, maps: &Maps) -> Result<(), SpecError> {
    let user = &spec.process.user;
    let (uids, gids) = (|id: u32| maps.uid(id), |id: u32| maps.gid(id));
    if user.username.is_none() {
        check_id_is_mapped("process.user.uid", user.uid, uids)?;
        check_id_is_mapped("process.user.gid", user.gid, gids)?;
    }
    for gid in &user.additional_gids {
        check_id_is_mapped("process.user.additionalGids", *gid, gids)?;
    }
    for device in &spec.linux.devices {
        check_id_is_mapped("linux.devices.uid", device.uid.unwrap_or(0), uids)?;
        check_id_is_mapped("linux.devices.gid", device.gid.unwrap_or(0), gids)?;
    }
    Ok(())
}

fn check_id_is_mapped(
    property: &'static str,
    id: u32,
    outside: impl Fn(u32) -> Option<u32>,
) -> Result<(), SpecError> {
    match outside(id) {
        Some(_) => Ok(()),
        None => Err(wrong(property, &id.to_string(), "the user namespace does not map this id")),
    }
}

fn check_lengths(request: &CreateContainer) -> Result<(), SpecError> {
    let spec = &request.spec;
    let lengths = [
        ("mounts", spec.mounts.len()),
        ("volumes", request.volumes.len()),
        ("linux.devices", spec.linux.devices.len()),
        ("linux.maskedPaths", spec.linux.masked_paths.len()),
        ("linux.readonlyPaths", spec.linux.readonly_paths.len()),
        ("linux.sysctl", spec.linux.sysctl.len()),
        ("process.rlimits", spec.process.rlimits.len()),
        ("process.user.additionalGids", spec.process.user.additional_gids.len()),
    ];
    match lengths.into_iter().find(|(_, length)| *length > MAX_ENTRIES) {
        Some((property, _)) => Err(SpecError::TooMany(property)),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
