//! A folder that is held open, and the plain files in it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// How the names of files begin that are not whole yet; nothing else begins so.
const UNFINISHED: &str = ".unfinished-";

/// A folder.
#[derive(Debug)]
pub(super) struct Folder(File);

impl Folder {
    /// Opens a folder by its path, and makes it and those above it where they are missing, for its owner alone.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700);
        builder.create(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::openat(CWD, path, flags, Mode::empty())?.into()))
    }

    /// Opens a folder in this one, and makes it where it is missing.
    pub(super) fn subfolder(&self, name: &str) -> io::Result<Self> {
        match rustix::fs::mkdirat(&self.0, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        self.entry(name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).map(Self)
    }

    /// Whether it belongs to who runs this, and nobody else may write to it.
    pub(super) fn is_own(&self) -> io::Result<bool> {
        let metadata = self.0.metadata()?;
        Ok(metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o022 == 0)
    }

    /// The open folder once more.
    pub(super) fn handle(&self) -> io::Result<File> {
        self.0.try_clone()
    }

    fn entry(&self, name: &str, flags: OFlags, mode: Mode) -> io::Result<File> {
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(rustix::fs::openat2(&self.0, name, flags, mode, beneath)?.into())
    }

    /// Opens a file to read it; none where it is not there.
    pub(super) fn open(&self, name: &str) -> io::Result<Option<File>> {
        match self.entry(name, OFlags::RDONLY, Mode::empty()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => regular(file?).map(Some),
        }
    }

    /// Opens a file to read and write it, and makes it where it is not there.
    pub(super) fn open_or_create(&self, name: &str) -> io::Result<File> {
        regular(self.entry(name, OFlags::RDWR | OFlags::CREATE, Mode::RUSR | Mode::WUSR)?)
    }

    /// Reads a whole file of at most `limit` bytes; none where it is not there.
    pub(super) fn read(&self, name: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = self.open(name)? else { return Ok(None) };
        if file.metadata()?.len() > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Writes a whole file, in place of one of that name.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let unfinished = format!("{UNFINISHED}{}-{number}", process::id());
        // What a killed process with this number left is of no use.
        self.remove(&unfinished)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let mut file = self.entry(&unfinished, flags, Mode::RUSR | Mode::WUSR)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        let renamed = written.and_then(|()| self.rename(&unfinished, self, name));
        if renamed.is_err() {
            self.remove(&unfinished)?;
        }
        renamed
    }

    /// Gives a file another place and name.
    pub(super) fn rename(&self, name: &str, folder: &Self, other: &str) -> io::Result<()> {
        rustix::fs::renameat(&self.0, name, &folder.0, other)?;
        // The name shall be there after a loss of power too.
        folder.0.sync_all()
    }

    /// Removes a file, whatever it is; a symbolic link, and not what it points to. It may be gone already.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.0, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The names of all files, those that were never finished apart.
    pub(super) fn names(&self) -> io::Result<(Vec<String>, Vec<String>)> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !matches!(name.as_str(), "." | "..") {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names.into_iter().partition(|name| !name.starts_with(UNFINISHED)))
    }
}

fn regular(file: File) -> io::Result<File> {
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "It is not a regular file")),
    }
}
