//! The specification's mounts.

use std::os::fd::{AsFd, OwnedFd};

use bulkhead_protocol::oci::Mount;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MoveMountFlags, OpenTreeFlags};

use super::beneath::{Beneath, Links};
use super::options::{Attributes, Bind, Options};
use super::{RootfsError, copy_up, file_system, setattr};
use crate::boot::STAGE;

/// File systems that a guest's container may ask for. They have no device behind them.
const KINDS: [&str; 6] = ["proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup2"];

/// Says what is wrong with the mounts of a guest's container, before anything is made.
pub fn check(mounts: &[Mount]) -> Result<(), RootfsError> {
    for mount in mounts {
        let refuse = |reason: String| RootfsError::Refused { target: mount.destination.clone(), reason };
        check_destination(&mount.destination).map_err(refuse)?;
        let options = Options::parse(&mount.options);
        if is_bind(mount, &options) {
            let source = mount.source.as_deref().unwrap_or("");
            if !source.starts_with('/') {
                return Err(refuse(format!("its source {source} is not an absolute path")));
            }
        } else if !KINDS.contains(&kind(mount)) {
            return Err(refuse(format!("the file system {} is not offered", kind(mount))));
        }
        if options.idmap.is_some() {
            return Err(refuse("its ids cannot be mapped in a guest".into()));
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

/// Mounts sysfs where [`apply`] finds it, for a container that may not mount it itself.
pub fn keep_sysfs() -> Result<(), RootfsError> {
    let failed = |error: Errno| RootfsError::step("mount sysfs for the container")(error);
    let mount =
        file_system::new("sysfs", "sysfs", &Options::none(), MountAttrFlags::empty()).map_err(failed)?;
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
    let attributes = options.attributes;
    setattr::set(&mount, attributes.set, attributes.clear, false)
        .map_err(RootfsError::step("set the attributes of sysfs"))?;
    Ok(mount)
}

/// What somebody with more rights has done for a mount.
#[derive(Debug, Default)]
pub struct Given {
    /// [`keep_sysfs`] was called.
    pub sysfs_is_kept: bool,
    /// The container has users of its own, whom the kernel does not let mount everything.
    pub own_users: bool,
    /// The bind's source, which hangs in no tree yet, its ids mapped.
    pub source: Option<OwnedFd>,
}

/// Mounts one of the specification's mounts.
pub fn apply(root: &Beneath, mount: &Mount, given: Given) -> Result<(), RootfsError> {
    let target = mount.destination.as_str();
    let options = Options::parse(&mount.options);
    if options.remount {
        let there = root.open(target, OFlags::PATH, Links::Refuse);
        let there = there.map_err(RootfsError::path("find the mount on", target))?;
        return set(&there, options.attributes, false)
            .map_err(RootfsError::path("change the mount on", target));
    }
    if is_bind(mount, &options) {
        return bind(root, mount, &options, given.source);
    }
    let kind = kind(mount);
    // The kernel's own views are never put where an image's link points.
    let links = if KINDS.contains(&kind) && kind != "tmpfs" { Links::Refuse } else { Links::Follow };
    let place = root.make_directory(target, links).map_err(RootfsError::path("make the folder", target))?;
    let made = make(mount, kind, options, &place, &given)?;
    if let Some(made) = made {
        attach(&made, &place).map_err(RootfsError::mount(kind, target))?;
        spread(mount, &made)?;
    }
    Ok(())
}

/// The new mount, or nothing where it lies at its place already.
fn make(
    mount: &Mount,
    kind: &str,
    mut options: Options,
    place: &OwnedFd,
    given: &Given,
) -> Result<Option<OwnedFd>, RootfsError> {
    let target = mount.destination.as_str();
    let source = mount.source.as_deref().unwrap_or(kind);
    let mut attributes = options.attributes.set;
    match kind {
        "sysfs" if given.sysfs_is_kept => return take_sysfs(&options).map(Some),
        "cgroup2" => options.data.clear(),
        "tmpfs" if !options.data.iter().any(|(key, _)| key == "mode") => {
            let stat = rustix::fs::fstat(place).map_err(RootfsError::mount(kind, target))?;
            options.data.push(("mode".into(), Some(format!("{:o}", stat.st_mode & 0o7777))));
        }
        _ => {}
    }
    if options.copy_up {
        attributes -= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    if file_system::is_long(&options) {
        let made =
            file_system::mount_at(place, kind, source, &options).map_err(RootfsError::mount(kind, target))?;
        set(&made, options.attributes, false).map_err(RootfsError::mount(kind, target))?;
        return spread(mount, &made).map(|()| None);
    }
    let made = match file_system::new(kind, source, &options, attributes) {
        // Who has users but not the network of his own sees the host's sysfs and cgroups.
        Err(Errno::PERM) if given.own_users && matches!(kind, "sysfs" | "cgroup2") => {
            let path = if kind == "sysfs" { "/sys" } else { "/sys/fs/cgroup" };
            let made = copy(rustix::fs::CWD, path, true).map_err(RootfsError::mount(kind, target))?;
            set(&made, options.attributes, false).map_err(RootfsError::mount(kind, target))?;
            made
        }
        made => made.map_err(RootfsError::mount(kind, target))?,
    };
    if options.copy_up {
        copy_up::copy(place, &made).map_err(RootfsError::path("copy what is at", target))?;
        set(&made, options.attributes, false).map_err(RootfsError::mount(kind, target))?;
    }
    Ok(Some(made))
}

fn set(mount: &OwnedFd, attributes: Attributes, recursive: bool) -> std::io::Result<()> {
    if attributes.is_empty() {
        return Ok(());
    }
    setattr::set(mount, attributes.set, attributes.clear, recursive)
}

/// Says how a mount that is at its place spreads.
fn spread(mount: &Mount, made: &OwnedFd) -> Result<(), RootfsError> {
    let Some(propagation) = Options::parse(&mount.options).propagation else { return Ok(()) };
    setattr::propagate(made, propagation)
        .map_err(RootfsError::path("set the propagation of the mount on", &mount.destination))
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

fn bind(root: &Beneath, mount: &Mount, options: &Options, given: Option<OwnedFd>) -> Result<(), RootfsError> {
    let target = mount.destination.as_str();
    let source = mount.source.as_deref().unwrap_or("/");
    let failed = |error: Errno| RootfsError::mount(&format!("a bind of {source}"), target)(error);
    let copy = match given {
        Some(given) => given,
        None => copy(rustix::fs::CWD, source, options.bind == Some(Bind::Recursive)).map_err(failed)?,
    };
    set(&copy, options.attributes, false)
        .and_then(|()| set(&copy, options.recursive, true))
        .map_err(RootfsError::mount("a bind", target))?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&copy).map_err(failed)?.st_mode);
    // Nothing is put where a link in the kernel's own views points.
    let links = if in_kernel_view(target) { Links::Refuse } else { Links::Follow };
    let place = if kind == FileType::Directory {
        root.make_directory(target, links)
    } else {
        root.make_file(target, links)
    };
    attach(&copy, place.map_err(RootfsError::path("make", target))?).map_err(failed)?;
    spread(mount, &copy)
}

/// Whether a place lies in /proc or /sys.
fn in_kernel_view(path: &str) -> bool {
    let first = path.split('/').find(|part| !part.is_empty() && *part != ".");
    matches!(first, Some("proc" | "sys"))
}

pub fn is_bind(mount: &Mount, options: &Options) -> bool {
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
        mount.destination.trim_end_matches('/') == "/dev" && is_bind(mount, &Options::parse(&mount.options))
    })
}

/// The attributes of a mount that shows and allows nothing.
pub const INERT: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY
    .union(MountAttrFlags::MOUNT_ATTR_NOSUID)
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

#[cfg(test)]
#[path = "mounts_tests.rs"]
mod tests;
