//! Takes a root file system from a folder of the host. The folder is read beneath its own handle; no link in
//! it is followed.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, CWD, Dir, FileType, Mode, OFlags};
use thiserror::Error;

use crate::cancellation::Cancelled;
use crate::limits::Limits;
use crate::oci::layer::{Assembly, Refusal, kept_xattrs};
use crate::tree::{Attributes, Device, Extent, Inode, InodeId, Kind, ROOT, StoreError, Time, Xattrs};

/// The longest list of names of extended attributes, Linux's own limit, in bytes.
const MAX_XATTR_LIST: usize = 64 << 10;

/// Why a folder cannot be taken.
#[derive(Debug, Error)]
pub enum DirectoryError {
    /// Something in it cannot be read.
    #[error("Cannot read {0}")]
    Read(PathBuf, #[source] io::Error),
    /// Something in it cannot be stored.
    #[error("Cannot take {0}")]
    Refused(PathBuf, #[source] Refusal),
}

/// Takes everything below `path`.
pub fn assemble(path: &Path, assembly: &mut Assembly<'_>, limits: &Limits) -> Result<(), DirectoryError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let read = |error: rustix::io::Errno| DirectoryError::Read(path.to_owned(), error.into());
    let folder = fs::openat(CWD, path, flags, Mode::empty()).map_err(read)?;
    let stat = fs::fstat(&folder).map_err(read)?;
    let attributes =
        attributes(&stat, xattrs(&folder).map_err(|error| DirectoryError::Read(path.to_owned(), error))?);
    assembly.tree.inode_mut(ROOT).attributes =
        attributes.map_err(|refusal| DirectoryError::Refused(path.to_owned(), refusal))?;
    let mut walk = Walk { assembly, limits, links: HashMap::new(), entries: 0 };
    walk.folder(&folder, path, ROOT, 1)
}

struct Walk<'w, 'a> {
    assembly: &'w mut Assembly<'a>,
    limits: &'w Limits,
    /// Inodes with several names, by the host's device and inode numbers.
    links: HashMap<(u64, u64), InodeId>,
    entries: u64,
}

/// What went wrong with one entry, before its path is added.
enum Fault {
    Read(io::Error),
    Refused(Refusal),
}

impl<E: Into<io::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Read(error.into())
    }
}

impl Walk<'_, '_> {
    fn folder(
        &mut self,
        folder: &OwnedFd,
        path: &Path,
        id: InodeId,
        depth: usize,
    ) -> Result<(), DirectoryError> {
        let read = |error: rustix::io::Errno| DirectoryError::Read(path.to_owned(), error.into());
        // Sorted, so that the host's order does not matter.
        let mut names: Vec<CString> = Vec::new();
        for entry in Dir::read_from(folder).map_err(read)? {
            let entry = entry.map_err(read)?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                self.entries += 1;
                if self.entries > self.limits.entries {
                    let refusal = Refusal::TooMuch { what: "entries", limit: self.limits.entries };
                    return Err(DirectoryError::Refused(path.to_owned(), refusal));
                }
                names.push(entry.file_name().to_owned());
            }
        }
        names.sort_unstable();
        for name in names {
            let cancelled = |error: Cancelled| DirectoryError::Read(path.to_owned(), error.into());
            self.limits.cancellation.check().map_err(cancelled)?;
            let path = path.join(&*name.to_string_lossy());
            let taken = self.entry(folder, &name, id).map_err(|fault| match fault {
                Fault::Read(error) => DirectoryError::Read(path.clone(), error),
                Fault::Refused(refusal) => DirectoryError::Refused(path.clone(), refusal),
            })?;
            let Some((inner, inner_id)) = taken else { continue };
            if depth >= self.limits.depth {
                return Err(DirectoryError::Refused(path, Refusal::Deep(self.limits.depth)));
            }
            self.folder(&inner, &path, inner_id, depth + 1)?;
        }
        Ok(())
    }

    /// Takes one entry; returns it where it is a folder that has to be walked.
    fn entry(
        &mut self,
        folder: &OwnedFd,
        name: &CStr,
        parent: InodeId,
    ) -> Result<Option<(OwnedFd, InodeId)>, Fault> {
        let stat = fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let several = (stat.st_nlink > 1).then_some((stat.st_dev, stat.st_ino));
        if let Some(known) = several.and_then(|key| self.links.get(&key)) {
            self.assembly.tree.link(parent, name.to_bytes(), 1, *known);
            return Ok(None);
        }
        let kind = FileType::from_raw_mode(stat.st_mode);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = match kind {
            FileType::RegularFile | FileType::Directory => {
                Some(fs::openat(folder, name, flags, Mode::empty())?)
            }
            _ => None,
        };
        // What was opened counts: the name may have been given to something else since.
        let stat = opened.as_ref().map_or(Ok(stat), fs::fstat)?;
        let xattrs = opened.as_ref().map_or(Ok(Xattrs::new()), xattrs)?;
        let attributes = attributes(&stat, xattrs).map_err(Fault::Refused)?;
        let device = || Device { major: fs::major(stat.st_rdev), minor: fs::minor(stat.st_rdev) };
        let inode = match (FileType::from_raw_mode(stat.st_mode), &opened) {
            (FileType::RegularFile, Some(file)) => {
                self.file(file, u64::try_from(stat.st_size).unwrap_or(0))?
            }
            (FileType::Directory, Some(_)) => Kind::Directory(BTreeMap::new()),
            (FileType::Symlink, None) => {
                Kind::Symlink(fs::readlinkat(folder, name, Vec::new())?.to_bytes().into())
            }
            (FileType::CharacterDevice, None) => Kind::CharacterDevice(device()),
            (FileType::BlockDevice, None) => Kind::BlockDevice(device()),
            (FileType::Fifo, None) => Kind::Fifo,
            (FileType::Socket, None) => Kind::Socket,
            _ => return Err(Fault::Read(io::Error::other("It changed while it was read"))),
        };
        let directory = matches!(inode, Kind::Directory(_));
        let id = self.assembly.tree.add(parent, name.to_bytes(), 1, Inode { attributes, kind: inode });
        if let (Some(key), false) = (several, directory) {
            self.links.insert(key, id);
        }
        Ok(opened.filter(|_| directory).map(|folder| (folder, id)))
    }

    fn file(&mut self, file: &OwnedFd, size: u64) -> Result<Kind, Fault> {
        if size > self.limits.size {
            return Err(Fault::Refused(Refusal::TooMuch {
                what: "bytes in one file",
                limit: self.limits.size,
            }));
        }
        let file = self.limits.cancellation.stream(File::from(file.try_clone()?));
        let mut reader = io::BufReader::new(file).take(size);
        let whole = [Extent { offset: 0, length: size }];
        let map = if size == 0 { &whole[..0] } else { &whole[..] };
        match self.assembly.bodies.store(size, map, &mut reader) {
            Ok(body) => Ok(Kind::File(body)),
            Err(StoreError::Read(error)) => Err(Fault::Read(error)),
            Err(error) => Err(Fault::Refused(error.into())),
        }
    }
}

fn attributes(stat: &fs::Stat, xattrs: Xattrs) -> Result<Attributes, Refusal> {
    Ok(Attributes {
        mode: u16::try_from(stat.st_mode & 0o7777).unwrap_or(0),
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: Time { seconds: stat.st_mtime, nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) },
        xattrs: kept_xattrs(xattrs)?,
    })
}

fn xattrs(file: &OwnedFd) -> io::Result<Xattrs> {
    let mut list = vec![0; MAX_XATTR_LIST];
    let length = match fs::flistxattr(file.as_fd(), &mut list[..]) {
        Ok(length) => length,
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(error) => return Err(error.into()),
    };
    let mut xattrs = Xattrs::new();
    for name in list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; MAX_XATTR_LIST];
        let length = fs::fgetxattr(file.as_fd(), name, &mut value[..])?;
        xattrs.insert(name.into(), value[..length].into());
    }
    Ok(xattrs)
}
