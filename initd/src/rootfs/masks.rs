//! Hides and write-protects paths of the kernel's own file systems.

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::beneath::{Beneath, Links};
use super::{RootfsError, mounts, nodes, setattr};

/// Covers files with /dev/null and folders with an empty read-only tmpfs. Paths that are not there are fine.
pub fn mask(root: &Beneath, paths: &[String]) -> Result<(), RootfsError> {
    if paths.is_empty() {
        return Ok(());
    }
    let null = nodes::guest_null()?;
    let mut empty = None;
    for path in paths {
        let Some(place) = open(root, path, "hide")? else { continue };
        let stat = rustix::fs::fstat(&place).map_err(RootfsError::path("hide", path))?;
        let cover = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            cover_for_folder(&mut empty)
        } else {
            mounts::copy(&null, "", false)
        };
        let cover = cover.map_err(RootfsError::path("hide", path))?;
        mounts::attach(&cover, &place).map_err(RootfsError::path("hide", path))?;
    }
    Ok(())
}

/// One empty tmpfs is enough for all folders: each gets a copy of its mount.
fn cover_for_folder(empty: &mut Option<OwnedFd>) -> Result<OwnedFd, Errno> {
    if let Some(first) = empty {
        return mounts::copy(first, "", false);
    }
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "nr_inodes", "1")?;
    rustix::mount::fsconfig_set_string(&context, "size", "4k")?;
    rustix::mount::fsconfig_create(&context)?;
    let mount = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, mounts::INERT)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    *empty = Some(rustix::fs::openat(&mount, ".", flags, rustix::fs::Mode::empty())?);
    Ok(mount)
}

/// Binds paths onto themselves, read-only.
pub fn write_protect(root: &Beneath, paths: &[String]) -> Result<(), RootfsError> {
    for path in paths {
        let Some(place) = open(root, path, "write-protect")? else { continue };
        let failed = |error: Errno| RootfsError::path("write-protect", path)(error);
        let copy = mounts::copy(&place, "", true).map_err(failed)?;
        setattr::set(&copy, MountAttrFlags::MOUNT_ATTR_RDONLY, MountAttrFlags::empty(), true)
            .map_err(RootfsError::path("write-protect", path))?;
        mounts::attach(&copy, &place).map_err(failed)?;
    }
    Ok(())
}

fn open(root: &Beneath, path: &str, operation: &'static str) -> Result<Option<OwnedFd>, RootfsError> {
    match root.open(path, OFlags::PATH | OFlags::NOFOLLOW, Links::Refuse) {
        Ok(place) => Ok(Some(place)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(RootfsError::path(operation, path)(error)),
    }
}
