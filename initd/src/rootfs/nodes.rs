//! The nodes and links of a container's /dev.

use std::os::fd::OwnedFd;

use bulkhead_protocol::oci::Device;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::beneath::{Beneath, Links, split};
use super::{RootfsError, mounts};
use crate::boot::STAGE;
use crate::isolation::user_namespace::Maps;

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

/// Terminals are made by the container's own devpts, and not by the host's, which engines name with the rest of its
/// devices.
const PTMX: &str = "/dev/ptmx";

/// Where nodes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// They are made, in the place of whatever an image has there.
    Over,
    /// They are made. Where one that is asked for finds another file, that is an error (`config-linux.md`,
    /// "Devices").
    New,
    /// [`keep`] made them, to be bound.
    Kept,
    /// The host's of the same path are bound.
    Host,
}

/// Fills /dev. The caller's umask is 0.
pub fn make(root: &Beneath, devices: &[Device], origin: Origin) -> Result<(), RootfsError> {
    let dev = root.make_directory("/dev", Links::Refuse).map_err(RootfsError::path("make", "/dev"))?;
    for (name, target) in LINKS {
        replace(&dev, name, || rustix::fs::symlinkat(target, &dev, name))
            .map_err(RootfsError::path("make the link", name))?;
    }
    let nodes = standard().chain(devices.iter().map(Node::parse));
    for (index, node) in nodes.enumerate() {
        let node = node?;
        if node.path == PTMX {
            continue;
        }
        let failed = |error: Errno| RootfsError::path("make the device", &node.path)(error);
        let (parent, name) = split(&node.path).map_err(failed)?;
        let other = (parent != "/dev").then(|| root.make_directory(parent, Links::Refuse));
        let other = other.transpose().map_err(failed)?;
        let parent = other.as_ref().unwrap_or(&dev);
        let source = match origin {
            Origin::New if index >= NODES.len() => {
                node.make(parent, name).map_err(failed)?;
                Node::give(parent, name, node.uid, node.gid).map_err(failed)?;
                continue;
            }
            Origin::New | Origin::Over => {
                replace(parent, name, || node.make(parent, name)).map_err(failed)?;
                Node::give(parent, name, node.uid, node.gid).map_err(failed)?;
                continue;
            }
            Origin::Kept => mounts::copy(rustix::fs::CWD, &format!("{}/{index}", kept()), false),
            Origin::Host => mounts::copy(rustix::fs::CWD, &node.path, false),
        };
        replace(parent, name, || make_empty(parent, name)).map_err(failed)?;
        let source = source.map_err(failed)?;
        if origin == Origin::Host && !node.is(&rustix::fs::fstat(&source).map_err(failed)?) {
            return Err(failed(Errno::NODEV));
        }
        bind(parent, name, &source).map_err(failed)?;
    }
    Ok(())
}

/// Makes the nodes where [`make`] finds them, for a container that may not make them itself. They belong to
/// the container's ids, as `maps` has them.
pub fn keep(maps: &Maps, devices: &[Device]) -> Result<(), RootfsError> {
    let failed = |error: Errno| RootfsError::step("make the container's devices")(error);
    rustix::fs::mkdir(kept().as_str(), Mode::from_raw_mode(0o755)).map_err(failed)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(kept().as_str(), flags, Mode::empty()).map_err(failed)?;
    for (index, node) in standard().chain(devices.iter().map(Node::parse)).enumerate() {
        let node = node?;
        let name = index.to_string();
        node.make(&folder, &name).map_err(RootfsError::path("make the device", &node.path))?;
        let (uid, gid) = (maps.uid(node.uid.unwrap_or(0)), maps.gid(node.gid.unwrap_or(0)));
        Node::give(&folder, &name, uid, gid)
            .map_err(RootfsError::path("give away the device", &node.path))?;
    }
    Ok(())
}

/// Where nodes are kept, each under its number in the order in which they are made.
fn kept() -> String {
    format!("{STAGE}/devices")
}

fn make_empty(parent: &OwnedFd, name: &str) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
}

fn bind(parent: &OwnedFd, name: &str, node: &OwnedFd) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    mounts::attach(node, rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

/// A node that is to be made.
struct Node {
    path: String,
    kind: FileType,
    mode: Mode,
    number: u64,
    uid: Option<u32>,
    gid: Option<u32>,
}

/// The nodes that every container has.
fn standard() -> impl Iterator<Item = Result<Node, RootfsError>> {
    NODES.into_iter().map(|(name, major, minor)| {
        Ok(Node {
            path: format!("/dev/{name}"),
            kind: FileType::CharacterDevice,
            mode: Mode::from_raw_mode(0o666),
            number: rustix::fs::makedev(major, minor),
            uid: None,
            gid: None,
        })
    })
}

impl Node {
    fn parse(device: &Device) -> Result<Self, RootfsError> {
        let refuse =
            |reason: &str| RootfsError::Refused { target: device.path.clone(), reason: reason.to_owned() };
        let number =
            |number: i64| u32::try_from(number).map_err(|_| refuse("a device's numbers are 0 to 4294967295"));
        Ok(Self {
            path: device.path.clone(),
            kind: kind(device).ok_or_else(|| refuse("a device is of type c, b, u or p"))?,
            mode: Mode::from_raw_mode(device.file_mode.unwrap_or(0o666) & 0o7777),
            number: rustix::fs::makedev(number(device.major)?, number(device.minor)?),
            uid: device.uid,
            gid: device.gid,
        })
    }

    /// Where the very node is there already, as in a root that several containers share, it is left.
    fn make(&self, parent: &OwnedFd, name: &str) -> Result<(), Errno> {
        match rustix::fs::mknodat(parent, name, self.kind, self.mode, self.number) {
            Err(Errno::EXIST) => {
                let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
                if self.is(&stat) { Ok(()) } else { Err(Errno::EXIST) }
            }
            result => result,
        }
    }

    /// Whether a file is this node.
    fn is(&self, stat: &rustix::fs::Stat) -> bool {
        FileType::from_raw_mode(stat.st_mode) == self.kind
            && (self.kind == FileType::Fifo || stat.st_rdev == self.number)
    }

    /// `None` keeps the owner.
    fn give(parent: &OwnedFd, name: &str, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
        if uid.is_none() && gid.is_none() {
            return Ok(());
        }
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
    }
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
        mounts::check_destination(&device.path)
            .map_err(|reason| RootfsError::Refused { target: device.path.clone(), reason })?;
        Node::parse(device)?;
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
