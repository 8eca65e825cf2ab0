//! The root of a guest's container: the image's read-only disk under a writable layer.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags};

use super::RootfsError;
use super::beneath::Beneath;
use crate::boot::STAGE;

/// How many files and folders the writable layer may have. A folder of it costs about a kilobyte of memory.
const MAX_INODES: u64 = 262_144;

/// What takes the writes to a root.
#[derive(Debug, Clone, Copy)]
pub enum Layer<'a> {
    /// So many bytes of the container's memory.
    Memory(u64),
    /// A file system that hangs in no tree yet. What it holds of an earlier start is the root's again.
    Disk(&'a OwnedFd),
}

/// Makes the root in the caller's own mount namespace, from the mount `lower` that hangs in no tree yet.
///
/// The root belongs to `owner`, where that is not the guest's root.
pub fn assemble(lower: &OwnedFd, layer: Layer<'_>, owner: Option<(Uid, Gid)>) -> Result<(), RootfsError> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).map_err(RootfsError::step("make the mounts private"))?;
    let memory;
    let layer = match layer {
        Layer::Memory(size) => {
            memory = new_memory(size)?;
            &memory
        }
        Layer::Disk(disk) => disk,
    };
    attach(layer, STAGE).map_err(RootfsError::step("attach the writable layer"))?;
    let mut new = false;
    for name in ["lower", "upper", "work", "root"] {
        match rustix::fs::mkdirat(layer, name, Mode::from_raw_mode(0o755)) {
            // A disk that was here before: owner and mode of its upper folder are the root's own.
            Err(Errno::EXIST) => {}
            Err(error) => return Err(RootfsError::step("make the writable layer's folders")(error)),
            Ok(()) => new |= name == "upper",
        }
    }
    if let Some((uid, gid)) = owner.filter(|_| new) {
        rustix::fs::chownat(layer, "upper", Some(uid), Some(gid), AtFlags::empty())
            .map_err(RootfsError::step("give the root to its owner"))?;
    }
    attach(lower, &below("lower")).map_err(RootfsError::step("attach the image's disk"))?;
    let options = [("lowerdir", below("lower")), ("upperdir", below("upper")), ("workdir", below("work"))];
    let root = new_mount("overlay", &options).map_err(RootfsError::step("mount the overlay"))?;
    attach(&root, &below("root")).map_err(RootfsError::step("attach the overlay"))
}

/// A writable layer of memory.
fn new_memory(size: u64) -> Result<OwnedFd, RootfsError> {
    let options = [("size", size.to_string()), ("nr_inodes", MAX_INODES.to_string()), ("mode", "755".into())];
    new_mount("tmpfs", &options).map_err(RootfsError::step("mount the writable layer"))
}

/// The root that was made, as the caller's mount namespace has it.
pub fn open() -> Result<Beneath, RootfsError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(below("root").as_str(), flags, Mode::empty())
        .map_err(RootfsError::step("open the overlay"))?;
    Ok(Beneath::new(root))
}

/// A mount that hangs in no tree yet.
fn new_mount(kind: &str, options: &[(&str, String)]) -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "source", kind)?;
    for (key, value) in options {
        rustix::mount::fsconfig_set_string(&context, *key, value.as_str())?;
    }
    rustix::mount::fsconfig_create(&context)?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

fn below(name: &str) -> String {
    format!("{STAGE}/{name}")
}

fn attach(mount: &impl AsFd, path: &str) -> Result<(), Errno> {
    rustix::mount::move_mount(mount, "", rustix::fs::CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}
