//! A drive whose sectors are the bytes of a file or of a host's block device.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

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

/// Opens `path` as a raw drive: a regular file or a block device of known size. Never waits for a pipe's
/// other end and never makes a terminal ours.
pub fn open_raw(path: &Path, read_only: bool) -> Result<File, DriveError> {
    let failed = |source| DriveError::Open { path: path.to_owned(), source };
    // Opening a directory for writing fails with less to say; so the kind comes first, and again from the
    // descriptor, which nobody can swap.
    check_kind(path, &std::fs::metadata(path).map_err(failed)?)?;
    let file = OpenOptions::new()
        .read(true)
        .write(!read_only)
        .custom_flags(libc::O_CLOEXEC | libc::O_NOCTTY | libc::O_NONBLOCK)
        .open(path)
        .map_err(failed)?;
    check_kind(path, &file.metadata().map_err(failed)?)?;
    (&file).seek(SeekFrom::End(0)).map_err(|source| DriveError::Size { path: path.to_owned(), source })?;
    Ok(file)
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
        open_raw(file.as_path(), false).unwrap();
        open_raw(file.as_path(), true).unwrap();
    }

    #[test]
    fn wrong_kinds_get_one_sentence() {
        let folder = vmm_sys_util::tempdir::TempDir::new().unwrap();
        let pipe = folder.as_path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let message = |path: &Path| open_raw(path, true).unwrap_err().to_string();
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
        assert!(matches!(open_raw(&link, true), Err(DriveError::Open { .. })));
    }
}
