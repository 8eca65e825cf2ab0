//! Mounts of disks that hang in no tree yet: process 1 makes them, a container takes them.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bulkhead_protocol::agent::{Device, RootDisk, VolumeDisk};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::{RootfsError, device};
use crate::boot::LaterModules;

/// How a squashfs begins (Linux, `fs/squashfs/squashfs_fs.h`).
const SQUASHFS_MAGIC: &[u8] = b"hsqs";

/// What an EROFS has at byte 1024 (Linux, `fs/erofs/erofs_fs.h`).
const EROFS_MAGIC: [u8; 4] = 0xe0f5_e1e2_u32.to_le_bytes();
const EROFS_SUPERBLOCK: usize = 1024;

/// The container's root file system, read-only: EROFS or squashfs, whose module is inserted now.
pub fn root(disk: &RootDisk, modules: &LaterModules) -> Result<OwnedFd, RootfsError> {
    let path = device::find(&disk.device)?;
    let kind = kind(&path).ok_or_else(|| RootfsError::NoRoot(disk.device.0.clone()))?;
    if kind == "squashfs" {
        modules.insert(kind);
    }
    mount_at(kind, &disk.device, &path, true, MountAttrFlags::MOUNT_ATTR_RDONLY)
}

/// Which of the two it is, by its first bytes. Squashfs first: where EROFS has its magic, a squashfs may have anything.
fn kind(device: &Path) -> Option<&'static str> {
    let mut start = [0; EROFS_SUPERBLOCK + 4];
    File::open(device).and_then(|file| file.read_exact_at(&mut start, 0)).ok()?;
    match start.starts_with(SQUASHFS_MAGIC) {
        true => Some("squashfs"),
        false => start.ends_with(&EROFS_MAGIC).then_some("erofs"),
    }
}

/// What takes the writes to the root, if a disk does.
pub fn layer(disk: &RootDisk) -> Result<Option<OwnedFd>, RootfsError> {
    let mount = |device| mount("ext4", device, false, MountAttrFlags::empty());
    disk.layer.as_ref().map(mount).transpose()
}

/// A volume.
pub fn volume(disk: &VolumeDisk) -> Result<OwnedFd, RootfsError> {
    let read_only = if disk.read_only { MountAttrFlags::MOUNT_ATTR_RDONLY } else { MountAttrFlags::empty() };
    mount("ext4", &disk.device, disk.read_only, MountAttrFlags::MOUNT_ATTR_NODEV | read_only)
}

/// Blocks while the device appears and the file system's journal is replayed.
fn mount(
    kind: &'static str,
    device: &Device,
    read_only: bool,
    attributes: MountAttrFlags,
) -> Result<OwnedFd, RootfsError> {
    mount_at(kind, device, &device::find(device)?, read_only, attributes)
}

fn mount_at(
    kind: &'static str,
    device: &Device,
    path: &Path,
    read_only: bool,
    attributes: MountAttrFlags,
) -> Result<OwnedFd, RootfsError> {
    let failed = |error: Errno| RootfsError::Disk { kind, device: device.0.clone(), source: error.into() };
    let context = match rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC) {
        Err(Errno::NODEV) => return Err(RootfsError::NoFileSystem { kind, device: device.0.clone() }),
        opened => opened.map_err(failed)?,
    };
    rustix::mount::fsconfig_set_string(&context, "source", path).map_err(failed)?;
    if read_only {
        rustix::mount::fsconfig_set_flag(&context, "ro").map_err(failed)?;
    }
    if kind == "ext4" {
        // Tables of inodes that nobody uses are not worth a write, least of all in the file of an overlay.
        rustix::mount::fsconfig_set_flag(&context, "noinit_itable").map_err(failed)?;
    }
    rustix::mount::fsconfig_create(&context).map_err(failed)?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_known_by_its_first_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let known = |start: &[u8], superblock: &[u8]| {
            let mut bytes = vec![0; 4096];
            bytes[..start.len()].copy_from_slice(start);
            bytes[1024..1024 + superblock.len()].copy_from_slice(superblock);
            std::fs::write(&path, bytes).unwrap();
            kind(&path)
        };
        assert_eq!(known(b"", b"\xe2\xe1\xf5\xe0"), Some("erofs"));
        assert_eq!(known(b"hsqs", b""), Some("squashfs"));
        assert_eq!(known(b"hsqs", b"\xe2\xe1\xf5\xe0"), Some("squashfs"));
        assert_eq!(known(b"sqsh", b"\xe0\xf5\xe1\xe2"), None);
        std::fs::write(&path, b"hsqs").unwrap();
        assert_eq!((kind(&path), kind(folder.path())), (None, None));
    }
}
