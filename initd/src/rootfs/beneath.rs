//! Paths of a container, opened so that nothing in it leads out of it (`openat2(2)`).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// How often a lookup is tried again when a rename elsewhere disturbed it (EAGAIN).
const TRIES: usize = 16;

/// A directory that is `/` for every path looked up through it.
#[derive(Debug)]
pub struct Beneath {
    root: OwnedFd,
}

/// How symbolic links on the way are treated. Links of /proc are never followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Followed, within the root.
    Follow,
    /// An error (ELOOP).
    Refuse,
}

impl Beneath {
    /// Looks up below `root`, an open directory.
    pub fn new(root: OwnedFd) -> Self {
        Self { root }
    }

    /// Opens `path`, which is absolute in the container.
    pub fn open(&self, path: &str, flags: OFlags, links: Links) -> Result<OwnedFd, Errno> {
        self.open_mode(path, flags, Mode::empty(), links)
    }

    /// The same, with the mode of a file that is made.
    pub fn open_mode(&self, path: &str, flags: OFlags, mode: Mode, links: Links) -> Result<OwnedFd, Errno> {
        let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        if links == Links::Refuse {
            resolve |= ResolveFlags::NO_SYMLINKS;
        }
        for _ in 0..TRIES {
            match rustix::fs::openat2(&self.root, path, flags | OFlags::CLOEXEC, mode, resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
        Err(Errno::AGAIN)
    }

    /// Opens the directory `path` and makes what is missing of it, with mode 755.
    ///
    /// A component `..` is refused, and so is a link that leads nowhere.
    pub fn make_directory(&self, path: &str, links: Links) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match self.open(path, flags, links) {
            Err(Errno::NOENT) => {}
            result => return result,
        }
        let (parent, name) = split(path)?;
        let parent = self.make_directory(parent, links)?;
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        rustix::fs::openat(&parent, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    }

    /// Opens `path` as a place to mount a file on, and makes an empty file where there is none.
    pub fn make_file(&self, path: &str, links: Links) -> Result<OwnedFd, Errno> {
        match self.open(path, OFlags::PATH, links) {
            Err(Errno::NOENT) => {}
            result => return result,
        }
        let (parent, name) = split(path)?;
        let parent = self.make_directory(parent, links)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644))?;
        self.open(path, OFlags::PATH, links)
    }
}

impl AsFd for Beneath {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// A path's parent and its last component.
pub fn split(path: &str) -> Result<(&str, &str), Errno> {
    let trimmed = path.trim_end_matches('/');
    let (parent, name) = trimmed.rsplit_once('/').unwrap_or(("/", trimmed));
    match name {
        "" | "." | ".." => Err(Errno::INVAL),
        _ => Ok((if parent.is_empty() { "/" } else { parent }, name)),
    }
}

#[cfg(test)]
#[path = "beneath_tests.rs"]
mod tests;
