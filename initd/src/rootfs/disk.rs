//! Mounts of disks that hang in no tree yet: process 1 makes them, a container takes them.

use std::os::fd::OwnedFd;

use bulkhead_protocol::agent::{Device, RootDisk, VolumeDisk};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::{RootfsError, device};

/// The container's root file system, read-only.
pub fn root(disk: &RootDisk) -> Result<OwnedFd, RootfsError> {
    mount("erofs", &disk.device, true, MountAttrFlags::MOUNT_ATTR_RDONLY)
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
    let path = device::find(device)?;
    let failed =
        |error: rustix::io::Errno| RootfsError::Disk { kind, device: device.0.clone(), source: error.into() };
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed)?;
    rustix::mount::fsconfig_set_string(&context, "source", path.as_path()).map_err(failed)?;
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
