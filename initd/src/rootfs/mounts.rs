//! The specification's mounts.

use std::os::fd::{AsFd, OwnedFd};

use bulkhead_protocol::oci::Mount;
use rustix::fs::{FileType, Mode};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};

use super::beneath::{Beneath, Links};
use super::options::{Bind, Options};
use super::{RootfsError, setattr};
use crate::boot::STAGE;

/// File systems that a container may ask for. They have no device behind them.
const KINDS: [&str; 6] = ["proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup2"];

/// Says what is wrong with the mounts, before anything is made.
pub fn check(mounts: &[Mount]) -> Result<(), RootfsError> {
    for mount in mounts {
        let refuse = |reason: String| RootfsError::Refused { target: mount.destination.clone(), reason };
        check_destination(&mount.destination).map_err(refuse)?;
        let options = Options::parse(&mount.options).map_err(refuse)?;
        if is_bind(mount, &options) {
            let source = mount.source.as_deref().unwrap_or("");
            if !source.starts_with('/') {
                return Err(refuse(format!("its source {source} is not an absolute path")));
            }
        } else if !KINDS.contains(&kind(mount)) {
            return Err(refuse(format!("the file system {} is not offered", kind(mount))));
        }
    }
    Ok(())
}

/// What is wrong with a place in the container where something shall be mounted.
pub fn check_destination(path: &str) -> Result<(), String> {
    if !path.starts_with('/') || path.contains('\0') || path.len() > 4095 {
        return Err("it is not an absolute path of at most 4095 bytes".into());
    }
    if path.split('/').any(|part| part == "..") {
        return Err("it has a component `..`".into());
    }
    if path.split('/').all(|part| part.is_empty() || part == ".") {
        return Err("it is the root itself".into());
    }
    Ok(())
}

/// What a container gets that names no mount at all (OCI runtime specification, `config-linux.md`, "Default
/// Filesystems").
pub fn defaults() -> Vec<Mount> {
    let mount = |destination: &str, kind: &str, options: &[&str]| Mount {
        destination: destination.into(),
        kind: Some(kind.into()),
        source: Some(kind.into()),
        options: options.iter().map(ToString::to_string).collect(),
    };
    vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup2", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
    ]
}

/// Mounts sysfs where [`apply`] finds it, for a container that may not mount it itself.
pub fn keep_sysfs() -> Result<(), RootfsError> {
    let failed = |error: Errno| RootfsError::step("mount sysfs for the container")(error);
    let mount = new_mount("sysfs", "sysfs", &Options::none()).map_err(failed)?;
    let path = kept_sysfs();
    rustix::fs::mkdir(path.as_str(), Mode::from_raw_mode(0o755)).map_err(failed)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(&mount, "", rustix::fs::CWD, path.as_str(), flags).map_err(failed)
}

fn kept_sysfs() -> String {
    format!("{STAGE}/sys")
}

/// A mount of the sysfs that is kept, with the attributes that are asked for.
fn take_sysfs(options: &Options) -> Result<OwnedFd, RootfsError> {
    let failed = RootfsError::step("take the sysfs that is kept");
    let mount = copy(rustix::fs::CWD, &kept_sysfs(), false).map_err(failed)?;
    setattr::set(&mount, options.set, options.clear, false)
        .map_err(RootfsError::step("set the attributes of sysfs"))?;
    Ok(mount)
}

/// Mounts one of the specification's mounts. `sysfs_is_kept` tells that [`keep_sysfs`] was called.
pub fn apply(root: &Beneath, mount: &Mount, sysfs_is_kept: bool) -> Result<(), RootfsError> {
    let target = mount.destination.as_str();
    let refuse = |reason| RootfsError::Refused { target: target.to_owned(), reason };
    let options = Options::parse(&mount.options).map_err(refuse)?;
    if is_bind(mount, &options) {
        return bind(root, mount, &options);
    }
    let kind = kind(mount);
    let source = mount.source.as_deref().unwrap_or(kind);
    let source = match kind {
        "sysfs" if sysfs_is_kept => take_sysfs(&options)?,
        _ => new_mount(kind, source, &options).map_err(RootfsError::mount(kind, target))?,
    };
    // The kernel's own views are never put where an image's link points.
    let links = if kind == "tmpfs" { Links::Follow } else { Links::Refuse };
    let place = root.make_directory(target, links).map_err(RootfsError::path("make the folder", target))?;
    attach(&source, &place).map_err(RootfsError::mount(kind, target))
}

/// Puts the mount `source` on the place that is open as `target`.
pub fn attach(source: impl AsFd, target: impl AsFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(source, "", target, "", flags)
}

/// A copy of the mount at `path`, seen from `directory`, that hangs in no tree yet.
pub fn copy(directory: impl AsFd, path: &str, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if path.is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(directory, path, flags)
}

fn bind(root: &Beneath, mount: &Mount, options: &Options) -> Result<(), RootfsError> {
    let target = mount.destination.as_str();
    let source = mount.source.as_deref().unwrap_or("/");
    let failed = |error: Errno| RootfsError::mount(&format!("a bind of the guest's {source}"), target)(error);
    let recursive = options.bind == Some(Bind::Recursive);
    let copy = copy(rustix::fs::CWD, source, recursive).map_err(failed)?;
    if !(options.set | options.clear).is_empty() {
        setattr::set(&copy, options.set, options.clear, options.recursive_attributes)
            .map_err(RootfsError::mount("a bind", target))?;
    }
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&copy).map_err(failed)?.st_mode);
    let place = if kind == FileType::Directory {
        root.make_directory(target, Links::Follow)
    } else {
        root.make_file(target, Links::Follow)
    };
    attach(&copy, place.map_err(RootfsError::path("make", target))?).map_err(failed)
}

/// `source` is but a name that `/proc/mounts` shows.
fn new_mount(kind: &str, source: &str, options: &Options) -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "source", source)?;
    if kind != "cgroup2" {
        for (key, value) in &options.data {
            match value {
                Some(value) => rustix::mount::fsconfig_set_string(&context, key.as_str(), value.as_str())?,
                None => rustix::mount::fsconfig_set_flag(&context, key.as_str())?,
            }
        }
    }
    rustix::mount::fsconfig_create(&context)?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, options.set)
}

fn is_bind(mount: &Mount, options: &Options) -> bool {
    options.bind.is_some() || mount.kind.as_deref() == Some("bind")
}

/// The file system's type. Specifications written for version 1 say `cgroup`; there is only version 2 here.
fn kind(mount: &Mount) -> &str {
    match mount.kind.as_deref() {
        Some("cgroup") => "cgroup2",
        Some(kind) => kind,
        None => "none",
    }
}

/// Whether the container's /dev is its own, to be filled with nodes, and not a bind of another.
pub fn owns_dev(mounts: &[Mount]) -> bool {
    !mounts.iter().any(|mount| {
        mount.destination.trim_end_matches('/') == "/dev"
            && Options::parse(&mount.options).is_ok_and(|options| is_bind(mount, &options))
    })
}

/// The attributes of a mount that shows and allows nothing.
pub const INERT: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY
    .union(MountAttrFlags::MOUNT_ATTR_NOSUID)
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
        let options = options.iter().map(ToString::to_string).collect();
        Mount {
            destination: destination.into(),
            kind: Some(kind.into()),
            source: Some(source.into()),
            options,
        }
    }

    #[test]
    fn destinations_stay_below_the_root() {
        for right in ["/data", "/a/b/", "/...", "/a/./b"] {
            assert!(check_destination(right).is_ok(), "{right}");
        }
        for wrong in ["", "/", "//", "/.", "data", "/a/../b", "/..", "/a\0"] {
            assert!(check_destination(wrong).is_err(), "{wrong}");
        }
        assert!(check_destination(&format!("/{}", "x".repeat(65536))).is_err());
    }

    #[test]
    fn only_known_kinds_are_offered() {
        assert!(check(&defaults()).is_ok());
        assert!(check(&[mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro"])]).is_ok());
        assert!(check(&[mount("/data", "ext4", "/dev/vda", &[])]).is_err());
        assert!(check(&[mount("/data", "bind", "relative", &["rbind"])]).is_err());
        assert!(check(&[mount("/data", "none", "/run/x", &["bind", "ro"])]).is_ok());
        assert!(check(&[mount("/data", "tmpfs", "tmpfs", &["rshared"])]).is_err());
    }

    #[test]
    fn a_bound_dev_is_left_alone() {
        assert!(owns_dev(&defaults()));
        assert!(!owns_dev(&[mount("/dev/", "none", "/dev", &["rbind"])]));
    }
}
