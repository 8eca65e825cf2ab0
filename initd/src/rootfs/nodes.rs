//! The nodes and links of a container's /dev.

use std::os::fd::OwnedFd;

use bulkhead_protocol::oci::Device;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::RootfsError;
use super::beneath::{Beneath, Links, split};

/// Character devices that every container has: name, major and minor number.
const NODES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Links that every container has: name and where it points.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Fills /dev. The caller's umask is 0.
pub fn make(root: &Beneath, devices: &[Device]) -> Result<(), RootfsError> {
    let dev = root.make_directory("/dev", Links::Refuse).map_err(RootfsError::path("make", "/dev"))?;
    for (name, major, minor) in NODES {
        let number = rustix::fs::makedev(major, minor);
        let mode = Mode::from_raw_mode(0o666);
        replace(&dev, name, || rustix::fs::mknodat(&dev, name, FileType::CharacterDevice, mode, number))
            .map_err(RootfsError::path("make the device", name))?;
    }
    for (name, target) in LINKS {
        replace(&dev, name, || rustix::fs::symlinkat(target, &dev, name))
            .map_err(RootfsError::path("make the link", name))?;
    }
    devices.iter().try_for_each(|device| make_device(root, device))
}

fn make_device(root: &Beneath, device: &Device) -> Result<(), RootfsError> {
    let refuse =
        |reason: &str| RootfsError::Refused { target: device.path.clone(), reason: reason.to_owned() };
    let kind = kind(device).ok_or_else(|| refuse("a device is of type c, b, u or p"))?;
    let number = |number: i64| u32::try_from(number).map_err(|_| refuse("it has a negative number"));
    let number = rustix::fs::makedev(number(device.major)?, number(device.minor)?);
    let failed = |error: Errno| RootfsError::path("make the device", &device.path)(error);
    let (parent, name) = split(&device.path).map_err(failed)?;
    let parent = root.make_directory(parent, Links::Refuse).map_err(failed)?;
    let mode = Mode::from_raw_mode(device.file_mode.unwrap_or(0o666) & 0o7777);
    replace(&parent, name, || rustix::fs::mknodat(&parent, name, kind, mode, number)).map_err(failed)?;
    if device.uid.is_some() || device.gid.is_some() {
        let (uid, gid) = (device.uid.map(Uid::from_raw), device.gid.map(Gid::from_raw));
        rustix::fs::chownat(&parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    }
    Ok(())
}

/// The node's type, by the specification's letter.
fn kind(device: &Device) -> Option<FileType> {
    match device.kind.as_str() {
        "c" | "u" => Some(FileType::CharacterDevice),
        "b" => Some(FileType::BlockDevice),
        "p" => Some(FileType::Fifo),
        _ => None,
    }
}

/// Makes a name, and where it exists, removes it first: what an image ships in /dev counts for nothing.
fn replace(directory: &OwnedFd, name: &str, make: impl Fn() -> Result<(), Errno>) -> Result<(), Errno> {
    match make() {
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(directory, name, AtFlags::empty())?;
            make()
        }
        result => result,
    }
}

/// Says what is wrong with the devices, before anything is made.
pub fn check(devices: &[Device]) -> Result<(), RootfsError> {
    for device in devices {
        let refuse =
            |reason: &str| RootfsError::Refused { target: device.path.clone(), reason: reason.to_owned() };
        super::mounts::check_destination(&device.path).map_err(|reason| refuse(&reason))?;
        kind(device).ok_or_else(|| refuse("a device is of type c, b, u or p"))?;
        if u32::try_from(device.major).is_err() || u32::try_from(device.minor).is_err() {
            return Err(refuse("a device's numbers are 0 to 4294967295"));
        }
    }
    Ok(())
}

/// The guest's own /dev/null, proven to be it, for covering files of the container.
pub fn guest_null() -> Result<OwnedFd, RootfsError> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let null = rustix::fs::open("/dev/null", flags, Mode::empty())
        .map_err(RootfsError::step("open the guest's /dev/null"))?;
    let stat = rustix::fs::fstat(&null).map_err(RootfsError::step("look at the guest's /dev/null"))?;
    let right = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(1, 3);
    if right { Ok(null) } else { Err(RootfsError::step("trust the guest's /dev/null")(Errno::NODEV)) }
}
