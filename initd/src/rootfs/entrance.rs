//! A folder as a root, and the way into a root.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MountPropagationFlags, UnmountFlags};

use super::beneath::Beneath;
use super::{RootfsError, mounts, setattr};

/// How a root is entered.
#[derive(Debug, Clone, Copy, Default)]
pub struct Way {
    /// The root is made read-only.
    pub read_only: bool,
    /// By moving the root's mount to `/` and `chroot`, for a host whose root is a ramfs.
    pub no_pivot: bool,
    /// What becomes of mounts in it and elsewhere (`linux.rootfsPropagation`).
    pub propagation: Option<MountPropagationFlags>,
}

/// Takes the folder `path` for the root: as a mount of its own in the caller's mount namespace, which no other
/// one sees. `given` is that mount where somebody else has made it.
pub fn take_folder(path: &str, way: Way, given: Option<OwnedFd>) -> Result<Beneath, RootfsError> {
    let is = |flag| way.propagation.is_some_and(|propagation| propagation.contains(flag));
    let shared = is(MountPropagationFlags::SHARED);
    if !shared {
        // Mounts that cannot be bound could not be taken either: that comes behind.
        let hidden = is(MountPropagationFlags::PRIVATE) || is(MountPropagationFlags::UNBINDABLE);
        let kind = if hidden { MountPropagationFlags::PRIVATE } else { MountPropagationFlags::DOWNSTREAM };
        rustix::mount::mount_change("/", kind | MountPropagationFlags::REC)
            .map_err(RootfsError::step("set the propagation of the mounts"))?;
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place = rustix::fs::open(path, flags, Mode::empty()).map_err(RootfsError::step("open root.path"))?;
    let root = match given {
        Some(root) => root,
        None => mounts::copy(&place, "", true).map_err(RootfsError::step("take the root"))?,
    };
    if shared {
        hide_parent(path)?;
        // A root that is shared cannot be entered.
        setattr::propagate(&root, MountPropagationFlags::PRIVATE)
            .map_err(RootfsError::step("take the root for oneself"))?;
    }
    mounts::attach(&root, &place).map_err(RootfsError::step("attach the root"))?;
    Ok(Beneath::new(root))
}

/// A folder as a root that is no mount of its own.
pub fn open(path: &str) -> Result<Beneath, RootfsError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(path, flags, Mode::empty()).map_err(RootfsError::step("open the root"))?;
    Ok(Beneath::new(root))
}

/// Makes `root` the caller's `/` and leaves the mounts as they are.
pub fn change(root: &Beneath) -> Result<(), RootfsError> {
    rustix::process::fchdir(root).map_err(RootfsError::step("enter the root"))?;
    rustix::process::chroot(".").map_err(RootfsError::step("change the root"))
}

/// Keeps the mount that `path` lies on from showing elsewhere what is mounted there.
fn hide_parent(path: &str) -> Result<(), RootfsError> {
    let failed = RootfsError::step("take the root's parent for oneself");
    let path: PathBuf = match std::fs::canonicalize(path) {
        Ok(path) => path,
        Err(error) => return Err(failed(error)),
    };
    for folder in path.ancestors().map(Path::as_os_str) {
        match rustix::mount::mount_change(folder, MountPropagationFlags::PRIVATE) {
            // No mount begins here.
            Err(Errno::INVAL) => {}
            result => return result.map_err(|error| failed(error.into())),
        }
    }
    Ok(())
}

/// Makes `root` the caller's `/`, and lets go of everything else that was mounted.
pub fn enter(root: &Beneath, way: Way) -> Result<(), RootfsError> {
    if way.read_only {
        let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY;
        setattr::set(root, attributes, MountAttrFlags::empty(), false)
            .map_err(RootfsError::step("make the root read-only"))?;
    }
    rustix::process::fchdir(root).map_err(RootfsError::step("enter the root"))?;
    if way.no_pivot {
        rustix::mount::mount_move(".", "/").map_err(RootfsError::step("move the root"))?;
        rustix::process::chroot(".").map_err(RootfsError::step("change the root"))?;
    } else {
        // The old root comes to lie on the new one, from where it is taken off: no folder for it is needed.
        rustix::process::pivot_root(".", ".").map_err(RootfsError::step("change the root"))?;
        if way.propagation.is_some_and(|propagation| propagation.contains(MountPropagationFlags::SHARED)) {
            let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
            rustix::mount::mount_change(".", slave)
                .map_err(RootfsError::step("part with the host's mounts"))?;
        }
        rustix::mount::unmount(".", UnmountFlags::DETACH)
            .map_err(RootfsError::step("let go of the old root"))?;
    }
    if let Some(propagation) = way.propagation {
        rustix::mount::mount_change("/", propagation)
            .map_err(RootfsError::step("set the propagation of the root"))?;
    }
    rustix::process::chdir("/").map_err(RootfsError::step("enter the new root"))
}
