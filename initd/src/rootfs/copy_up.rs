//! `tmpcopyup`: a tmpfs begins with a copy of what it covers.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

/// How deep a tree may be: a descriptor a level is open.
const MAX_DEPTH: usize = 128;

/// Copies what is in the directory `from` into the directory `to`. Nothing on the way is followed.
pub fn copy(from: impl AsFd, to: impl AsFd) -> io::Result<()> {
    Ok(folder(&open(&from, ".", OFlags::DIRECTORY)?, &open(&to, ".", OFlags::DIRECTORY)?, 0)?)
}

fn open(directory: impl AsFd, name: &str, more: OFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags | more, Mode::empty())
}

fn folder(from: &OwnedFd, to: &OwnedFd, depth: usize) -> Result<(), Errno> {
    if depth > MAX_DEPTH {
        return Err(Errno::LOOP);
    }
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let name = name.to_str().map_err(|_| Errno::ILSEQ)?;
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        one(from, to, name, &stat, depth)?;
    }
    Ok(())
}

fn one(from: &OwnedFd, to: &OwnedFd, name: &str, stat: &Stat, depth: usize) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, mode)?;
            folder(&open(from, name, OFlags::DIRECTORY)?, &open(to, name, OFlags::DIRECTORY)?, depth + 1)?;
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(target.as_c_str(), to, name)?;
        }
        FileType::RegularFile => {
            let source = open(from, name, OFlags::empty())?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let target = rustix::fs::openat(to, name, flags, mode)?;
            while rustix::fs::sendfile(&target, &source, None, 1 << 20)? > 0 {}
        }
        kind => rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev)?,
    }
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        // A change of owner may have cost the set-id bits.
        rustix::fs::chmodat(to, name, mode, AtFlags::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_tree_is_copied_and_no_link_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("a/b/file"), "text").unwrap();
        fs::set_permissions(from.join("a/b/file"), Permissions::from_mode(0o4751)).unwrap();
        symlink("/etc/passwd", from.join("link")).unwrap();
        copy(File::open(&from).unwrap(), File::open(&to).unwrap()).unwrap();
        assert_eq!(fs::read_to_string(to.join("a/b/file")).unwrap(), "text");
        assert_eq!(fs::metadata(to.join("a/b/file")).unwrap().mode() & 0o7777, 0o4751);
        assert_eq!(fs::read_link(to.join("link")).unwrap(), std::path::Path::new("/etc/passwd"));
    }
}
