//! Files that appear whole or not at all.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use tempfile::NamedTempFile;

/// A file that takes its name only when it is complete; dropped before that, it leaves nothing behind.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    file: Unfinished,
}

#[derive(Debug)]
enum Unfinished {
    /// Has no name at all: nothing stays of it even where the process is killed.
    Unnamed(File),
    /// Where the file system has no unnamed files.
    Named(NamedTempFile),
}

impl Output {
    /// Begins a file that will be `path`, on the same file system.
    pub fn begin(path: &Path) -> io::Result<Self> {
        if path.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "It is a directory"));
        }
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(CWD, folder(path), flags, Mode::from_raw_mode(0o600)) {
            Ok(file) => Unfinished::Unnamed(file.into()),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => {
                Unfinished::Named(named().tempfile_in(folder(path))?)
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self { path: path.to_owned(), file })
    }

    /// The open file.
    pub fn file(&self) -> &File {
        match &self.file {
            Unfinished::Unnamed(file) => file,
            Unfinished::Named(file) => file.as_file(),
        }
    }

    /// Gives the file its name, readable by everyone, in place of whatever had that name.
    pub fn finish(self) -> io::Result<()> {
        self.file().set_permissions(Permissions::from_mode(0o644))?;
        self.file().sync_all()?;
        match self.file {
            Unfinished::Named(file) => file.persist(&self.path).map(drop).map_err(|error| error.error),
            Unfinished::Unnamed(file) => {
                // A link cannot replace a file, so it is made under another name and renamed.
                let link = |name: &Path| {
                    let own = format!("/proc/self/fd/{}", file.as_raw_fd());
                    rustix::fs::linkat(CWD, &own, CWD, name, AtFlags::SYMLINK_FOLLOW).map_err(io::Error::from)
                };
                let name = named().make_in(folder(&self.path), link)?.into_temp_path();
                fs::rename(&name, &self.path)?;
                name.keep().map(drop).map_err(|error| error.error)
            }
        }
    }
}

fn named() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".bulkhead-").suffix(".part");
    builder
}

/// The folder that holds `path`.
pub fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Writes `bytes` to `path`, whole or not at all.
pub fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let output = Output::begin(path)?;
    let mut writer = BufWriter::new(output.file());
    writer.write_all(bytes)?;
    writer.flush()?;
    drop(writer);
    output.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let output = Output::begin(&path).unwrap();
        output.file().write_all(b"half").unwrap();
        assert!(names(folder.path()).is_empty());
        drop(output);
        assert!(names(folder.path()).is_empty());
        for content in [&b"one"[..], b"two"] {
            write_file(&path, content).unwrap();
            assert_eq!(fs::read(&path).unwrap(), content);
            assert_eq!(names(folder.path()), ["file"]);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert!(write_file(folder.path(), b"").is_err());
        assert!(write_file(&folder.path().join("no/file"), b"").is_err());
    }
}
