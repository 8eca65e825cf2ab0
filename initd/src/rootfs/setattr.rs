//! `mount_setattr(2)`, which rustix does not have.
#![allow(unsafe_code, reason = "mount_setattr(2) takes a pointer to its attributes; no crate here wraps it")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::mount::{MountAttrFlags, MountPropagationFlags};

/// Sets and clears attributes of the mount that `mount` is the root of, and of those below it.
pub fn set(mount: impl AsFd, set: MountAttrFlags, clear: MountAttrFlags, recursive: bool) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: set.bits().into(),
        attr_clr: clear.bits().into(),
        propagation: 0,
        userns_fd: 0,
    };
    call(mount, &attributes, recursive)
}

/// Shows the ids of the mount's files as `users`, a user namespace, has them. The mount hangs in no tree yet.
/// `recursive` takes the mounts below it as well.
pub fn map_ids(mount: impl AsFd, users: &OwnedFd, recursive: bool) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::from(users.as_raw_fd().unsigned_abs()),
    };
    call(mount, &attributes, recursive)
}

/// Says how mounts that are made or taken below `mount` spread: `MS_SHARED` and its like, for the mounts below
/// as well where `MS_REC` is among them.
pub fn propagate(mount: impl AsFd, propagation: MountPropagationFlags) -> io::Result<()> {
    let kind = propagation - MountPropagationFlags::REC;
    let attributes =
        libc::mount_attr { attr_set: 0, attr_clr: 0, propagation: kind.bits().into(), userns_fd: 0 };
    call(mount, &attributes, propagation.contains(MountPropagationFlags::REC))
}

fn call(mount: impl AsFd, attributes: &libc::mount_attr, recursive: bool) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a literal; `attributes` lives through the call, which reads the size told and
    // writes nothing.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
