//! Says what is wrong with a bundle's specification, before anything is made (`config.md`, `config-linux.md`).

use std::collections::BTreeSet;

use bulkhead_protocol::oci::{NamespaceKind, Process, Spec};

use super::error::OciError;
use crate::container::{SpecError, check as shared, hooks, shape};
use crate::isolation::capabilities;
use crate::isolation::rlimits;
use crate::isolation::schedule;
use crate::isolation::seccomp::Program;
use crate::isolation::user_namespace::Maps;
use crate::rootfs::options::{self, Options};
use crate::rootfs::{RootfsError, mounts, nodes};

/// A property with a value that it cannot have.
fn wrong(property: &'static str, value: &str, reason: &'static str) -> OciError {
    SpecError::Value { property, value: value.to_owned(), reason }.into()
}

/// Looks at everything that can be looked at without the bundle's files. Puts what may be written in several
/// ways into the one that is used here.
///
/// What comes back is to be told, and stops nothing.
pub fn check(spec: &mut Spec) -> Result<Vec<String>, OciError> {
    if !spec.oci_version.starts_with("1.") {
        return Err(wrong("ociVersion", &spec.oci_version, "this runtime follows the versions 1.x"));
    }
    match &spec.root {
        None => return Err(wrong("root", "absent", "a container needs a root")),
        Some(root) if root.path.is_empty() => return Err(wrong("root.path", "\"\"", "it names a folder")),
        Some(_) => {}
    }
    if spec.process.args.is_empty() && spec.process.cwd.is_empty() {
        return Err(wrong("process", "absent", "there is nothing to run"));
    }
    let warnings = process(&mut spec.process)?;
    namespaces(spec)?;
    if let Some(hooks) = &spec.hooks {
        hooks::check(hooks)?;
    }
    for (property, set) in [
        ("linux.mountLabel", spec.linux.mount_label.as_deref().is_some_and(|label| !label.is_empty())),
        ("linux.intelRdt", spec.linux.intel_rdt.is_some()),
    ] {
        if set {
            return Err(wrong(property, "set", "this runtime has nothing of the kind"));
        }
    }
    if let Some(kind) = spec.linux.rootfs_propagation.as_deref() {
        if kind.is_empty() {
            spec.linux.rootfs_propagation = None;
        } else if options::propagation(kind).is_none() {
            return Err(wrong("linux.rootfsPropagation", kind, "it is shared, slave, private or unbindable"));
        }
    }
    schedule::check(&spec.process, spec.linux.personality.as_ref()).map_err(SpecError::from)?;
    spec.linux.seccomp.as_ref().map(Program::exact).transpose().map_err(SpecError::from)?;
    places(spec)?;
    Ok(warnings)
}

/// What a program of the container may be, the first or another.
pub fn process(process: &mut Process) -> Result<Vec<String>, OciError> {
    if process.cwd.is_empty() || !process.cwd.starts_with('/') {
        return Err(wrong("process.cwd", &format!("{:?}", process.cwd), "it is an absolute path"));
    }
    process.cwd = clean(&process.cwd);
    // Engines write a word without a value where a variable shall be absent.
    process.env.retain(|word| word.contains('='));
    if process.selinux_label.as_deref().is_some_and(|label| !label.is_empty()) {
        return Err(wrong("process.selinuxLabel", "set", "this runtime has nothing of the kind"));
    }
    shared::process(process)?;
    rlimits::check(&process.rlimits).map_err(SpecError::from)?;
    let unknown = process.capabilities.as_mut().map(capabilities::take_unknown).unwrap_or_default();
    let warning = |name| format!("process.capabilities names {name}, which this runtime does not know");
    Ok(unknown.into_iter().map(warning).collect())
}

fn namespaces(spec: &Spec) -> Result<(), OciError> {
    let mut seen = BTreeSet::new();
    for namespace in &spec.linux.namespaces {
        let kind = shape::flag(namespace.kind);
        if !seen.insert(kind) {
            let name = format!("{:?}", namespace.kind).to_lowercase();
            return Err(wrong("linux.namespaces.type", &name, "it is there twice"));
        }
        if let Some(path) = namespace.path.as_deref().filter(|path| !path.starts_with('/')) {
            return Err(wrong("linux.namespaces.path", path, "it is an absolute path"));
        }
    }
    let has = |kind| seen.contains(&shape::flag(kind));
    if spec.hostname.as_deref().is_some_and(|name| !name.is_empty()) && !has(NamespaceKind::Uts) {
        return Err(wrong("hostname", "set", "linux.namespaces names no uts namespace"));
    }
    if spec.domainname.as_deref().is_some_and(|name| !name.is_empty()) && !has(NamespaceKind::Uts) {
        return Err(wrong("domainname", "set", "linux.namespaces names no uts namespace"));
    }
    if !spec.linux.time_offsets.is_empty() && !shape::is_new(spec, NamespaceKind::Time) {
        return Err(wrong("linux.timeOffsets", "set", "linux.namespaces names no new time namespace"));
    }
    if let Some(clock) =
        spec.linux.time_offsets.keys().find(|clock| !matches!(clock.as_str(), "boottime" | "monotonic"))
    {
        return Err(wrong("linux.timeOffsets", clock, "the clocks are boottime and monotonic"));
    }
    let linux = &spec.linux;
    let mounts =
        !spec.mounts.is_empty() || !linux.masked_paths.is_empty() || !linux.readonly_paths.is_empty();
    if mounts && !has(NamespaceKind::Mount) {
        return Err(wrong("mounts", "set", "linux.namespaces names no mount namespace"));
    }
    if shape::is_new(spec, NamespaceKind::User) {
        Maps::parse(linux).map_err(SpecError::from)?;
    }
    for name in linux.sysctl.keys() {
        shape::check_bundle_sysctl(name, has).map_err(|reason| wrong("linux.sysctl", name, reason))?;
    }
    if linux
        .cgroups_path
        .as_deref()
        .is_some_and(|path| path.split('/').all(|part| matches!(part, "" | "." | "..")))
    {
        return Err(wrong("linux.cgroupsPath", "/", "it is not the root of all groups"));
    }
    Ok(())
}

/// The places of mounts and devices, which are paths in the container and become plain ones.
fn places(spec: &mut Spec) -> Result<(), OciError> {
    let users = shape::is_new(spec, NamespaceKind::User);
    for mount in &mut spec.mounts {
        if mount.destination.is_empty() || mount.destination.contains('\0') {
            return Err(wrong("mounts.destination", "\"\"", "it is an absolute path"));
        }
        // A relative path is one from the root on.
        mount.destination = clean(&mount.destination);
        if mounts::is_bind(mount, &Options::parse(&mount.options)) {
            if mount.source.as_deref().is_none_or(str::is_empty) {
                return Err(wrong("mounts.source", "absent", "a bind mount has a source"));
            }
        } else if mount.kind.as_deref().is_none_or(str::is_empty) {
            return Err(wrong("mounts.type", "absent", "what is no bind mount has a type"));
        }
        let options = Options::parse(&mount.options);
        if mount.uid_mappings.is_empty() != mount.gid_mappings.is_empty() {
            return Err(wrong("mounts.uidMappings", "alone", "it is there together with gidMappings"));
        }
        let mapped = options.idmap.is_some() || !mount.uid_mappings.is_empty();
        if mapped && !mounts::is_bind(mount, &options) {
            return Err(wrong("mounts.uidMappings", "set", "the ids of a bind mount alone are mapped"));
        }
        if options.idmap.is_some() && mount.uid_mappings.is_empty() && !users {
            return Err(wrong("mounts.options", "idmap", "there is no mapping, here or of the container"));
        }
        mounts::check_destination(&mount.destination).map_err(|reason| {
            SpecError::from(RootfsError::Refused { target: mount.destination.clone(), reason })
        })?;
    }
    for device in &mut spec.linux.devices {
        device.path = clean(&device.path);
    }
    for path in spec.linux.masked_paths.iter_mut().chain(&mut spec.linux.readonly_paths) {
        if !path.starts_with('/') {
            return Err(wrong("linux.maskedPaths or linux.readonlyPaths", path, "it is an absolute path"));
        }
        *path = clean(path);
    }
    nodes::check(&spec.linux.devices).map_err(SpecError::from)?;
    Ok(())
}

/// An absolute path without empty parts, `.` and `..`, which leads nowhere above the root.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
