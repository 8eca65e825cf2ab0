//! Where a guest's serial output goes: standard output, within bounds, and its last lines into memory.
#![allow(unsafe_code, reason = "poll and write on a borrowed descriptor")]

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// How much of the end is kept for the record of a panic.
const TAIL: usize = 4 << 10;
/// Output that a reader has not taken yet; more is dropped.
const PENDING: usize = 64 << 10;
/// A line longer than this is written before its end comes.
const LINE: usize = 256;
/// How much goes into a regular file, which nobody empties.
const FILE_LIMIT: u64 = 4 << 20;
/// What is written there when the limit is reached.
const CUT: &[u8] = b"\n[the console's further output is dropped: the file has 4 MiB]\n";

/// The guest's console output. Writing never fails, never blocks and keeps a bounded amount.
pub struct Console {
    out: Option<OwnedFd>,
    /// Bytes that may still go into `out` when that is a regular file.
    allowance: Option<u64>,
    pending: VecDeque<u8>,
    dropped: u64,
    tail: VecDeque<u8>,
}

impl Console {
    /// Writes to the process's standard output.
    pub fn to_stdout() -> io::Result<Self> {
        Ok(Self::to(io::stdout().as_fd().try_clone_to_owned()?))
    }

    /// Writes to `out`.
    pub fn to(out: OwnedFd) -> Self {
        let regular = out
            .try_clone()
            .and_then(|out| File::from(out).metadata())
            .is_ok_and(|metadata| metadata.is_file());
        Self { allowance: regular.then_some(FILE_LIMIT), out: Some(out), ..Self::to_nowhere() }
    }

    /// Keeps the tail and writes nothing.
    pub fn to_nowhere() -> Self {
        Self { out: None, allowance: None, pending: VecDeque::new(), dropped: 0, tail: VecDeque::new() }
    }

    /// The last 4 KiB, as text.
    pub fn tail(&self) -> String {
        let bytes: Vec<u8> = self.tail.iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Writes what is held back in hope of the rest of a line.
    pub fn flush_partial(&mut self) {
        if !self.pending.is_empty() {
            self.drain(0);
        }
    }

    /// Writes what is left and waits up to a second for the reader to take it. For the machine's end.
    pub fn finish(&mut self) {
        self.drain(1000);
    }

    /// Writes as much as the reader takes within `timeout` milliseconds.
    fn drain(&mut self, timeout: libc::c_int) {
        while !self.pending.is_empty() && self.writable(timeout) {
            let Some(out) = &self.out else { break };
            let (first, _) = self.pending.as_slices();
            // A pipe that is writable takes at least a page without blocking.
            let chunk = first.get(..first.len().min(4096)).unwrap_or(first);
            // SAFETY: `chunk` is valid for its length and `out` is open.
            let written = unsafe { libc::write(out.as_raw_fd(), chunk.as_ptr().cast(), chunk.len()) };
            match usize::try_from(written) {
                Ok(written) if written > 0 => drop(self.pending.drain(..written)),
                _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                _ => {
                    // Nobody reads any more, or the disk is full: the guest runs on.
                    self.out = None;
                    self.pending.clear();
                }
            }
        }
    }

    fn writable(&self, timeout: libc::c_int) -> bool {
        if self.allowance.is_some() {
            return true;
        }
        let Some(out) = &self.out else { return false };
        let mut poll = libc::pollfd { fd: out.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
        // SAFETY: One valid pollfd.
        unsafe { libc::poll(&raw mut poll, 1, timeout) > 0 }
    }

    fn hold(&mut self, byte: u8) {
        if self.out.is_none() {
            return;
        }
        if let Some(allowance) = &mut self.allowance {
            match *allowance {
                0 => return,
                1 => self.pending.extend(CUT),
                _ => {}
            }
            *allowance -= 1;
        }
        if self.pending.len() < PENDING {
            self.pending.push_back(byte);
        } else {
            self.dropped += 1;
        }
    }
}

impl Write for Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for &byte in bytes {
            if self.tail.len() == TAIL {
                self.tail.pop_front();
            }
            self.tail.push_back(byte);
            self.hold(byte);
        }
        let line_ended = bytes.last() == Some(&b'\n');
        if line_ended || self.pending.len() >= LINE {
            self.drain(0);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // The UART flushes after every byte; lines are what costs a system call here.
        Ok(())
    }
}

#[cfg(test)]
#[path = "console_tests.rs"]
mod tests;
