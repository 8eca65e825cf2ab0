//! A stream as files beneath a folder. The stream is hostile, and so may be what is in the folder already: every path
//! is opened beneath the folder's handle and through no link, and what has the last name is replaced, not followed.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT, Uid};
use rustix::io::Errno;

use crate::error::shown;
use crate::limits::{Budget, Limits, MAX_DEPTH, MAX_NAME, MAX_PATH};
use crate::{ArchiveError, Entry, Kind, Reader};

/// How often a lookup is tried again when a rename elsewhere disturbed it (EAGAIN).
const TRIES: usize = 64;

/// What is taken of a stream.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Entries of this name and what is in them, and no other.
    pub only: Option<Vec<u8>>,
    /// Give files their owners, and not the one who writes.
    pub owners: bool,
    /// The permissions that are kept.
    pub modes: u32,
    /// Take names that share a file.
    pub hard_links: bool,
    /// How much is taken.
    pub limits: Limits,
}

/// Writes what the stream has beneath `target`. Returns a sentence for each entry that is left out, within reason.
pub fn unpack(
    reader: &mut Reader<impl Read>,
    target: impl AsFd,
    rules: &Rules,
) -> Result<Vec<String>, ArchiveError> {
    let budget = Budget::new(rules.limits);
    let mut work = Work { target: target.as_fd(), rules, budget, folders: Vec::new(), left_out: Vec::new() };
    while let Some(entry) = reader.next_entry()? {
        work.take(&entry, &mut *reader)?;
    }
    work.finish_folders()?;
    Ok(work.left_out)
}

/// The most sentences that are kept.
const MAX_SENTENCES: usize = 16;

struct Work<'a> {
    target: BorrowedFd<'a>,
    rules: &'a Rules,
    budget: Budget,
    /// Folders get their modes and times when all is in them.
    folders: Vec<(Vec<u8>, u32, i64)>,
    left_out: Vec<String>,
}

impl Work<'_> {
    fn take(&mut self, entry: &Entry, data: impl Read) -> Result<(), ArchiveError> {
        let size = if let Kind::File(size) = entry.kind { size } else { 0 };
        self.budget.spend(size)?;
        let path = self.components(&entry.name, &entry.name)?;
        let Some((leaf, parents)) = path.split_last() else {
            return self.take_top(entry);
        };
        let parent = self.folder(parents, &entry.name)?;
        let failed = |operation| ArchiveError::file::<Errno>(operation, &entry.name);
        match &entry.kind {
            Kind::Special(what) => self.leave_out(entry, what),
            Kind::HardLink(_) if !self.rules.hard_links => self.leave_out(entry, "a hard link"),
            Kind::Folder => {
                match rustix::fs::mkdirat(&parent, *leaf, Mode::from_raw_mode(0o700)) {
                    Err(Errno::EXIST) => self.require_folder(&parent, leaf, entry)?,
                    made => made.map_err(failed("make"))?,
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let made = rustix::fs::openat(&parent, *leaf, flags, Mode::empty());
                self.give_away(made.map_err(failed("open"))?, "", entry)?;
                self.folders.push((path.join(&b'/'), entry.mode, entry.mtime));
            }
            Kind::File(size) => {
                make_room(&parent, leaf, entry)?;
                self.write(&parent, leaf, entry, *size, data)?;
            }
            Kind::Symlink(link) => {
                if link.is_empty() || link.len() > MAX_PATH || link.contains(&0) {
                    return Err(ArchiveError::refused(&entry.name, "its link leads nowhere"));
                }
                make_room(&parent, leaf, entry)?;
                rustix::fs::symlinkat(link.as_slice(), &parent, *leaf).map_err(failed("make"))?;
                self.give_away(&parent, *leaf, entry)?;
                rustix::fs::utimensat(&parent, *leaf, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(failed("set the time of"))?;
            }
            Kind::HardLink(link) => {
                let other = self.components(link, &entry.name)?;
                let Some((other, folders)) = other.split_last() else {
                    return Err(ArchiveError::refused(&entry.name, "it is a hard link to nothing"));
                };
                let folder = self.folder(folders, &entry.name)?;
                make_room(&parent, leaf, entry)?;
                rustix::fs::linkat(&folder, *other, &parent, *leaf, AtFlags::empty())
                    .map_err(failed("link"))?;
            }
        }
        Ok(())
    }

    /// The folder itself, which is there: it gets the stream's attributes where all of it was asked for.
    fn take_top(&mut self, entry: &Entry) -> Result<(), ArchiveError> {
        match entry.kind {
            Kind::Folder => Ok(()),
            _ => Err(ArchiveError::refused(&entry.name, "only a folder can be the folder itself")),
        }
    }

    fn leave_out(&mut self, entry: &Entry, what: &str) {
        if self.left_out.len() < MAX_SENTENCES {
            self.left_out.push(format!("{:?} is left out: it is {what}", shown(&entry.name)));
        }
    }

    /// A path's components, of which none leads anywhere else.
    fn components<'p>(&self, path: &'p [u8], name: &[u8]) -> Result<Vec<&'p [u8]>, ArchiveError> {
        let refuse = |reason| Err(ArchiveError::refused(name, reason));
        if path.starts_with(b"/") {
            return refuse("its path is absolute");
        }
        if path.len() > MAX_PATH || path.contains(&0) {
            return refuse("its path is too long or has a NUL character");
        }
        let plain = |part: &&[u8]| !part.is_empty() && *part != b".";
        let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(plain).collect();
        if parts.iter().any(|part| *part == b".." || part.len() > MAX_NAME) {
            return refuse("a component of its path is '..' or too long");
        }
        if parts.len() > MAX_DEPTH {
            return refuse("it lies too deep");
        }
        if let Some(only) = &self.rules.only
            && parts.first().copied() != Some(only.as_slice())
        {
            return refuse("it was not asked for");
        }
        Ok(parts)
    }

    /// Opens a folder, and makes what is missing of it.
    fn folder(&self, parts: &[&[u8]], name: &[u8]) -> Result<OwnedFd, ArchiveError> {
        let path = if parts.is_empty() { b".".to_vec() } else { parts.join(&b'/') };
        let opened = match (self.open(&path), parts.split_last()) {
            (Err(Errno::NOENT), Some((leaf, above))) => {
                let parent = self.folder(above, name)?;
                match rustix::fs::mkdirat(&parent, *leaf, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => self.open(&path),
                    Err(error) => Err(error),
                }
            }
            (opened, _) => opened,
        };
        opened.map_err(|error| match error {
            Errno::LOOP | Errno::NOTDIR | Errno::XDEV => {
                ArchiveError::refused(name, "the way to it is no folder, or leads through a link")
            }
            error => ArchiveError::file("make the folder of", name)(error),
        })
    }

    fn open(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        for _ in 0..TRIES {
            match rustix::fs::openat2(self.target, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
        Err(Errno::AGAIN)
    }

    fn require_folder(&self, parent: &OwnedFd, leaf: &[u8], entry: &Entry) -> Result<(), ArchiveError> {
        let stat = rustix::fs::statat(parent, leaf, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(ArchiveError::file("look at", &entry.name))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Ok(()),
            _ => Err(ArchiveError::refused(&entry.name, "a folder cannot replace what is there")),
        }
    }

    fn write(
        &self,
        parent: &OwnedFd,
        leaf: &[u8],
        entry: &Entry,
        size: u64,
        data: impl Read,
    ) -> Result<(), ArchiveError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(parent, leaf, flags, Mode::from_raw_mode(0o600))
            .map_err(ArchiveError::file("make", &entry.name))?;
        let mut file = File::from(file);
        let copied = match io::copy(&mut data.take(size), &mut file) {
            Ok(copied) if copied == size => Ok(()),
            Ok(_) => Err(ArchiveError::Short),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ArchiveError::Short),
            Err(error) => Err(ArchiveError::file("write", &entry.name)(error)),
        };
        let done = copied.and_then(|()| {
            self.give_away(&file, "", entry)?;
            // Behind the owner: a change of that takes bits away.
            let mode = Mode::from_raw_mode(entry.mode & self.rules.modes);
            rustix::fs::fchmod(&file, mode).map_err(ArchiveError::file("set the mode of", &entry.name))?;
            rustix::fs::futimens(&file, &times(entry.mtime))
                .map_err(ArchiveError::file("set the time of", &entry.name))
        });
        if done.is_err() {
            // A part of a file is worse than none.
            let _ = rustix::fs::unlinkat(parent, leaf, AtFlags::empty());
        }
        done
    }

    /// Gives what has just been made to its owner: what `name` is in `place`, or `place` itself.
    fn give_away<P: rustix::path::Arg>(
        &self,
        place: impl AsFd,
        name: P,
        entry: &Entry,
    ) -> Result<(), ArchiveError> {
        if !self.rules.owners {
            return Ok(());
        }
        if entry.uid == u32::MAX || entry.gid == u32::MAX {
            return Err(ArchiveError::refused(&entry.name, "its owner is nobody's number"));
        }
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(place, name, Some(uid), Some(gid), flags)
            .map_err(ArchiveError::file("give away", &entry.name))
    }

    fn finish_folders(&mut self) -> Result<(), ArchiveError> {
        for (path, mode, mtime) in std::mem::take(&mut self.folders).into_iter().rev() {
            let failed = |error: Errno| ArchiveError::file("finish", &path)(error);
            let folder = self.open(&path).map_err(failed)?;
            rustix::fs::fchmod(&folder, Mode::from_raw_mode(mode & self.rules.modes)).map_err(failed)?;
            rustix::fs::futimens(&folder, &times(mtime)).map_err(failed)?;
        }
        Ok(())
    }
}

/// Takes away what has an entry's name, unless it is a folder.
fn make_room(parent: &OwnedFd, leaf: &[u8], entry: &Entry) -> Result<(), ArchiveError> {
    match rustix::fs::unlinkat(parent, leaf, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => Err(ArchiveError::refused(&entry.name, "it cannot replace a folder")),
        Err(error) => Err(ArchiveError::file("replace", &entry.name)(error)),
    }
}

fn times(mtime: i64) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime, tv_nsec: 0 },
    }
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
