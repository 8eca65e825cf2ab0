//! A drive whose sectors are the bytes of a file or of a host's block device.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::qcow2::OverlayFault;
use super::space::make_blocking;

/// Why a drive cannot be opened.
#[derive(Debug, Error)]
pub enum DriveError {
    /// It is missing, or not for us.
    #[error("Cannot open drive {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It is a directory, a pipe, a socket, a terminal.
    #[error("Drive {path} is {kind}, neither a regular file nor a block device")]
    Kind {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// It is not the overlay that it should be.
    #[error("Cannot use {path} as an overlay")]
    Overlay {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: OverlayFault,
    },
    /// It has no end to be found.
    #[error("Cannot find the size of drive {path}")]
    Size {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// A file whose bytes are a drive's sectors: a regular file or a host's block device.
#[derive(Debug)]
pub struct RawDrive {
    file: File,
    size: u64,
    block_device: bool,
}

impl RawDrive {
    /// Opens `path`, which must be a regular file or a block device. Never waits for a pipe's other end and
    /// never makes a terminal ours.
    pub fn open(path: &Path, read_only: bool) -> Result<RawDrive, DriveError> {
        let failed = |source| DriveError::Open { path: path.to_owned(), source };
        // Opening a directory for writing fails with less to say; so the kind comes first, and again from
        // the descriptor, which nobody can swap.
        check_kind(path, &std::fs::metadata(path).map_err(failed)?)?;
        let file = OpenOptions::new()
            .read(true)
            .write(!read_only)
            .custom_flags(libc::O_CLOEXEC | libc::O_NOCTTY | libc::O_NONBLOCK)
            .open(path)
            .map_err(failed)?;
        check_kind(path, &file.metadata().map_err(failed)?)?;
        // The flag was there for pipes only; io_uring would take it for a wish not to wait for the disk.
        make_blocking(&file).map_err(failed)?;
        RawDrive::from_file(file).map_err(|source| DriveError::Size { path: path.to_owned(), source })
    }

    /// The same of a file that is open already.
    pub fn from_file(mut file: File) -> io::Result<RawDrive> {
        let block_device = file.metadata()?.file_type().is_block_device();
        // A block device's metadata say nothing of its size; its end does.
        let size = file.seek(SeekFrom::End(0))?;
        Ok(RawDrive { file, size, block_device })
    }

    /// Something that is no file, to be read as if it were one without end.
    #[cfg(test)]
    pub fn endless(file: File) -> RawDrive {
        RawDrive { file, size: 1 << 30, block_device: false }
    }

    /// The file itself.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Its size in bytes when it was opened.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether it is a host's block device.
    pub fn is_block_device(&self) -> bool {
        self.block_device
    }
}

fn check_kind(path: &Path, metadata: &std::fs::Metadata) -> Result<(), DriveError> {
    let file_type = metadata.file_type();
    let kind = if file_type.is_file() || file_type.is_block_device() {
        return Ok(());
    } else if file_type.is_dir() {
        "a directory"
    } else if file_type.is_fifo() {
        "a pipe"
    } else if file_type.is_socket() {
        "a socket"
    } else {
        "a character device"
    };
    Err(DriveError::Kind { path: path.to_owned(), kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_file_opens() {
        let file = vmm_sys_util::tempfile::TempFile::new().unwrap();
        RawDrive::open(file.as_path(), false).unwrap();
        RawDrive::open(file.as_path(), true).unwrap();
    }

    #[test]
    fn wrong_kinds_get_one_sentence() {
        let folder = vmm_sys_util::tempdir::TempDir::new().unwrap();
        let pipe = folder.as_path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let message = |path: &Path| RawDrive::open(path, true).unwrap_err().to_string();
        assert!(message(folder.as_path()).contains("is a directory"));
        assert!(message(&pipe).contains("is a pipe"));
        assert!(message(Path::new("/dev/null")).contains("is a character device"));
        assert_eq!(message(Path::new("/nowhere")), "Cannot open drive /nowhere");
    }

    #[test]
    fn missing_permission_and_dangling_links_are_errors() {
        let folder = vmm_sys_util::tempdir::TempDir::new().unwrap();
        let link = folder.as_path().join("link");
        std::os::unix::fs::symlink("/nowhere", &link).unwrap();
        assert!(matches!(RawDrive::open(&link, true), Err(DriveError::Open { .. })));
    }
}
