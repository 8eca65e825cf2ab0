//! New mounts of file systems, which hang in no tree yet.

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags};

use super::options::Options;

/// The longest word that `fsconfig(2)` takes, with the byte that ends it.
const MAX_WORD: usize = 255;

/// Mounts a file system of this kind. `source` is a device, or but a name that `/proc/mounts` shows.
pub fn new(
    kind: &str,
    source: &str,
    options: &Options,
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "source", source)?;
    if source.starts_with("/dev/") && attributes.contains(MountAttrFlags::MOUNT_ATTR_RDONLY) {
        rustix::mount::fsconfig_set_flag(&context, "ro")?;
    }
    for (key, value) in &options.data {
        match value {
            Some(value) => rustix::mount::fsconfig_set_string(&context, key.as_str(), value.as_str())?,
            None => rustix::mount::fsconfig_set_flag(&context, key.as_str())?,
        }
    }
    rustix::mount::fsconfig_create(&context)?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Whether an option is too long for [`new`], as those of an overlay with many layers are.
pub fn is_long(options: &Options) -> bool {
    options.data.iter().any(|(_, value)| value.as_ref().is_some_and(|value| value.len() > MAX_WORD))
}

/// Mounts a file system with long options at `place`, by `mount(2)`. The caller's /proc is the host's.
pub fn mount_at(place: impl AsFd, kind: &str, source: &str, options: &Options) -> Result<OwnedFd, Errno> {
    let words: Vec<_> = options
        .data
        .iter()
        .map(|(key, value)| value.as_ref().map_or_else(|| key.clone(), |value| format!("{key}={value}")))
        .collect();
    let data = std::ffi::CString::new(words.join(",")).map_err(|_| Errno::INVAL)?;
    let path = format!("/proc/self/fd/{}", place.as_fd().as_raw_fd());
    rustix::mount::mount(source, path.as_str(), kind, MountFlags::empty(), data.as_c_str())?;
    // Through the link again, and now onto the mount that lies there.
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let place = rustix::fs::open(path.as_str(), flags, rustix::fs::Mode::empty())?;
    rustix::fs::openat(&place, ".", flags | OFlags::DIRECTORY, rustix::fs::Mode::empty())
}
