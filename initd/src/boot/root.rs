//! Leaves the initramfs: a tmpfs becomes `/`, and the memory of the initramfs is given back.
//!
//! `pivot_root` from the kernel's first root is refused (EINVAL), so no container could be made there.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::mount::MountFlags;

use super::{BootError, mounts};

/// Where the new root is put together, before it is moved.
const STAGING: &str = "/.root";

/// How deep the initramfs is searched for files to remove.
const MAX_DEPTH: usize = 8;

/// Makes the new root with its mounts, moves to it and removes the files of the old one.
pub fn leave_initramfs() -> Result<(), BootError> {
    let failed = |step| move |error: rustix::io::Errno| BootError::Leave { step, source: error.into() };
    let old = rustix::fs::open("/", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("open the old root"))?;
    rustix::fs::mkdir(STAGING, Mode::from_raw_mode(0o755)).map_err(failed("make a directory"))?;
    rustix::mount::mount(
        "tmpfs",
        STAGING,
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NODEV,
        c"mode=755,size=16m",
    )
    .map_err(failed("mount a tmpfs"))?;
    rustix::process::chdir(STAGING).map_err(failed("enter the new root"))?;
    mounts::mount_all()?;
    rustix::mount::mount_move(".", "/").map_err(failed("move the new root"))?;
    rustix::process::chroot(".").map_err(failed("change the root"))?;
    rustix::process::chdir("/").map_err(failed("enter the changed root"))?;
    let device = rustix::fs::fstat(&old).map_err(failed("look at the old root"))?.st_dev;
    remove_below(old.as_fd(), device, MAX_DEPTH);
    Ok(())
}

/// Removes what lies below `directory` on the same file system. What cannot be removed just stays: it costs
/// memory and nothing else.
fn remove_below(directory: BorrowedFd<'_>, device: u64, depth: usize) {
    let Ok(entries) = Dir::read_from(directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if entry.file_type() != FileType::Directory {
            let _ = rustix::fs::unlinkat(directory, name, AtFlags::empty());
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(child) = rustix::fs::openat(directory, name, flags, Mode::empty()) else { continue };
        let same = rustix::fs::fstat(&child).is_ok_and(|stat| stat.st_dev == device);
        if same && depth > 0 {
            remove_below(child.as_fd(), device, depth - 1);
            let _ = rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR);
        }
    }
}
