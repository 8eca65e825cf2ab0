//! What this process writes for people: files, named pipes and standard output, never waited for.
#![allow(unsafe_code, reason = "poll takes a pointer")]

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// What a pipe that can be written to takes whole and without waiting (`PIPE_BUF` of Linux), in bytes.
pub const WHOLE: usize = 4096;

/// A place for output. Writing to it fails rather than waits for a reader.
#[derive(Debug)]
pub struct Outlet {
    file: File,
    regular: bool,
}

impl Outlet {
    /// Opens `path` at its end; makes a file where there is nothing. A named pipe needs no reader.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600).custom_flags(flags);
        Ok(Self::to(options.open(path)?.into()))
    }

    /// The process's standard output.
    pub fn stdout() -> io::Result<Self> {
        Ok(Self::to(io::stdout().as_fd().try_clone_to_owned()?))
    }

    /// Writes to `out`, whoever else has it.
    pub fn to(out: OwnedFd) -> Self {
        let file = File::from(out);
        let regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
        Self { file, regular }
    }

    /// Whether it is a regular file, which nobody empties.
    pub fn is_regular(&self) -> bool {
        self.regular
    }

    /// Whether a write would be taken within `timeout` milliseconds.
    pub fn writable(&self, timeout: libc::c_int) -> bool {
        if self.regular {
            return true;
        }
        let mut poll = libc::pollfd { fd: self.file.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
        // SAFETY: One valid pollfd.
        unsafe { libc::poll(&raw mut poll, 1, timeout) > 0 }
    }

    /// Writes some of `bytes` and tells how many. `WouldBlock` when none are taken now.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = if self.regular { bytes } else { bytes.get(..WHOLE).unwrap_or(bytes) };
        if !self.writable(0) {
            return Err(ErrorKind::WouldBlock.into());
        }
        loop {
            match (&self.file).write(bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    /// Writes a line of at most [`WHOLE`] bytes, or nothing of it.
    pub fn write_line(&self, line: &[u8]) -> io::Result<()> {
        let written = self.write(line)?;
        if written == line.len() { Ok(()) } else { Err(ErrorKind::WriteZero.into()) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_named_pipe_without_a_reader_is_filled_and_then_refuses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let outlet = Outlet::open(&path).unwrap();
        let line = [b'x'; 1024];
        let lines = (0..1000).take_while(|_| outlet.write_line(&line).is_ok()).count();
        // Linux may call a pipe full while its last page has room.
        assert!((48..=64).contains(&lines), "{lines}");
        assert_eq!(outlet.write(&line).unwrap_err().kind(), ErrorKind::WouldBlock);
        let mut reader = File::open(&path).unwrap();
        reader.read_exact(&mut [0; 8192]).unwrap();
        outlet.write_line(&line).unwrap();
    }

    #[test]
    fn a_file_keeps_what_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for _ in 0..2 {
            Outlet::open(&path).unwrap().write_line(b"line\n").unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "line\nline\n");
        assert!(Outlet::open(folder.path()).is_err());
    }
}
