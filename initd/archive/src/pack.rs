//! A file or a folder as a stream. Nothing is read but files, folders and links; every name is opened by itself in its
//! folder's handle, so that whoever moves things meanwhile changes what is read, and not where.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::limits::{Budget, MAX_DEPTH};
use crate::{ArchiveError, Entry, Kind, Writer};

/// How often a lookup is tried again when a rename elsewhere disturbed it (EAGAIN).
const TRIES: usize = 64;

/// File systems whose files are the kernel's answers: proc, sysfs, cgroup2, devpts, mqueue, debugfs, tracefs
/// (`statfs(2)`).
const ANSWERS: [i64; 7] = [0x9fa0, 0x6265_6572, 0x6367_7270, 0x1cd1, 0x1980_0202, 0x6462_6720, 0x7472_6163];

/// What a copy begins with.
#[derive(Debug)]
pub enum Top {
    /// A folder, open to be read.
    Folder(OwnedFd),
    /// A file, open to be read.
    File(OwnedFd),
    /// A symbolic link: where it leads, and what is known of it.
    Symlink(Vec<u8>, Box<Stat>),
}

impl Top {
    /// Opens `path` from `root` on, as `resolve` says. Its last component is followed where `follow` says so, or
    /// where the path ends as a folder's does.
    pub fn open(
        root: impl AsFd,
        path: &[u8],
        resolve: ResolveFlags,
        follow: bool,
    ) -> Result<Self, ArchiveError> {
        let failed = |error: Errno| ArchiveError::file("open", path)(error);
        let follow = follow || path.ends_with(b"/") || path.ends_with(b"/.");
        let last = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        let place = open(&root, path, OFlags::PATH | last, resolve).map_err(failed)?;
        let stat = rustix::fs::fstat(&place).map_err(failed)?;
        if is_answer(&place) {
            return Err(ArchiveError::refused(path, "it is no file but the kernel's answer"));
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let folder = rustix::fs::openat(&place, ".", flags, Mode::empty()).map_err(failed)?;
                Ok(Self::Folder(folder))
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&place, "", Vec::new()).map_err(failed)?;
                Ok(Self::Symlink(target.into_bytes(), Box::new(stat)))
            }
            FileType::RegularFile => {
                let file = open(&root, path, READ | last, resolve).map_err(failed)?;
                let stat = rustix::fs::fstat(&file).map_err(failed)?;
                match FileType::from_raw_mode(stat.st_mode) {
                    FileType::RegularFile => Ok(Self::File(file)),
                    _ => Err(ArchiveError::refused(path, "it is a file no more")),
                }
            }
            _ => Err(ArchiveError::refused(path, "it is no file, no folder and no link")),
        }
    }
}

/// Nobody waits at a named pipe, and no terminal becomes ours.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

fn open(root: impl AsFd, path: &[u8], flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    for _ in 0..TRIES {
        match rustix::fs::openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
    Err(Errno::AGAIN)
}

fn is_answer(file: impl AsFd) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|found| ANSWERS.contains(&found.f_type))
}

/// Writes `top` and everything in it to the stream, under `name`. Returns what has been left out.
pub fn pack<W: Write>(
    writer: &mut Writer<W>,
    top: Top,
    name: &[u8],
    budget: &mut Budget,
) -> Result<u64, ArchiveError> {
    let mut walk = Walk { writer, budget, left_out: 0 };
    match top {
        Top::File(file) => walk.file(file, name)?,
        Top::Symlink(target, stat) => walk.begin(name, Kind::Symlink(target), &stat)?,
        Top::Folder(folder) => walk.folder(folder, name, 0)?,
    }
    Ok(walk.left_out)
}

struct Walk<'a, W> {
    writer: &'a mut Writer<W>,
    budget: &'a mut Budget,
    left_out: u64,
}

impl<W: Write> Walk<'_, W> {
    fn begin(&mut self, name: &[u8], kind: Kind, stat: &Stat) -> Result<(), ArchiveError> {
        self.budget.spend(if let Kind::File(size) = kind { size } else { 0 })?;
        let entry = Entry {
            name: name.to_vec(),
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: stat.st_mtime,
        };
        self.writer.begin(&entry)
    }

    fn file(&mut self, file: OwnedFd, name: &[u8]) -> Result<(), ArchiveError> {
        let stat = rustix::fs::fstat(&file).map_err(ArchiveError::file("look at", name))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            self.left_out += 1;
            return Ok(());
        }
        let size = stat.st_size.unsigned_abs();
        self.begin(name, Kind::File(size), &stat)?;
        self.writer.body(name, size, File::from(file))
    }

    fn folder(&mut self, folder: OwnedFd, name: &[u8], depth: usize) -> Result<(), ArchiveError> {
        if depth > MAX_DEPTH {
            return Err(ArchiveError::refused(name, "it lies too deep"));
        }
        let failed = |error: Errno| ArchiveError::file("read", name)(error);
        let stat = rustix::fs::fstat(&folder).map_err(failed)?;
        self.begin(name, Kind::Folder, &stat)?;
        if is_answer(&folder) {
            self.left_out += 1;
            return Ok(());
        }
        let mut entries = Dir::new(folder).map_err(failed)?;
        while let Some(entry) = entries.read() {
            let entry = entry.map_err(failed)?;
            let child = entry.file_name();
            if matches!(child.to_bytes(), b"." | b"..") {
                continue;
            }
            let path = [name, b"/", child.to_bytes()].concat();
            self.child(&entries, child, &path, depth)?;
        }
        Ok(())
    }

    /// One entry of a folder. What is gone or has become something else since its name was read is left out.
    fn child(
        &mut self,
        folder: &Dir,
        child: &std::ffi::CStr,
        path: &[u8],
        depth: usize,
    ) -> Result<(), ArchiveError> {
        let failed = |error: Errno| ArchiveError::file("open", path)(error);
        let folder = folder.fd().map_err(failed)?;
        let stat = match rustix::fs::statat(folder, child, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            stat => stat.map_err(failed)?,
        };
        let open = |flags| rustix::fs::openat(folder, child, flags | OFlags::NOFOLLOW, Mode::empty());
        let moved =
            |error| matches!(error, Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::INVAL | Errno::NXIO);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => match open(OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC) {
                Err(error) if moved(error) => self.left_out += 1,
                opened => self.folder(opened.map_err(failed)?, path, depth + 1)?,
            },
            FileType::RegularFile => match open(READ) {
                Err(error) if moved(error) => self.left_out += 1,
                opened => self.file(opened.map_err(failed)?, path)?,
            },
            FileType::Symlink => match rustix::fs::readlinkat(folder, child, Vec::new()) {
                Err(error) if moved(error) => self.left_out += 1,
                target => self.begin(path, Kind::Symlink(target.map_err(failed)?.into_bytes()), &stat)?,
            },
            _ => self.left_out += 1,
        }
        Ok(())
    }
}
