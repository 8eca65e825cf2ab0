//! Files that appear whole or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// A file that takes its name only when it is complete; dropped before that, it leaves nothing behind.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    file: NamedTempFile,
}

impl Output {
    /// Begins a file that will be `path`, in a temporary file beside it.
    pub fn begin(path: &Path) -> io::Result<Self> {
        if path.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "It is a directory"));
        }
        let file = tempfile::Builder::new().prefix(".bulkhead-").suffix(".part").tempfile_in(folder(path))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// The open file.
    pub fn file(&self) -> &File {
        self.file.as_file()
    }

    /// Gives the file its name, readable by everyone, in place of whatever had that name.
    pub fn finish(self) -> io::Result<()> {
        self.file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
        self.file.as_file().sync_all()?;
        self.file.persist(&self.path).map(drop).map_err(|error| error.error)
    }
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
