//! A ring of the kernel's (`io_uring`): requests in, completions out. The only place that names the crate.

#![allow(unsafe_code, reason = "requests name memory by its address, which must outlive them")]

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use io_uring::{IoUring, opcode, squeue, types};

use super::engine::Command;

/// A ring with room for a number of requests at once.
pub struct Uring {
    ring: IoUring,
    /// Whether the kernel has not been told of the last requests.
    queued: bool,
}

impl Uring {
    /// A ring for `entries` requests in flight. Hosts may refuse it altogether.
    pub fn new(entries: u32) -> io::Result<Uring> {
        Ok(Uring { ring: IoUring::builder().dontfork().build(entries)?, queued: false })
    }

    /// Readable (level-triggered) while completions wait.
    pub fn descriptor(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    /// How many requests it takes.
    pub fn entries(&self) -> usize {
        self.ring.params().sq_entries() as usize
    }

    /// Queues `command` on `file` for the next [`Uring::submit`]; `token` comes back with its completion.
    /// False when there is no room.
    ///
    /// # Safety
    /// Until the completion is taken with [`Uring::next`], the file must stay open, and the command's vectors
    /// and the memory that they name must stay where they are; nobody may hold references into memory that
    /// is read to.
    pub unsafe fn push(&mut self, file: RawFd, command: &Command, token: u64) -> bool {
        let file = types::Fd(file);
        let entry: squeue::Entry = match *command {
            Command::Read { vectors: (start, count), offset } => {
                opcode::Readv::new(file, start, count).offset(offset).build()
            }
            Command::Write { vectors: (start, count), offset } => {
                opcode::Writev::new(file, start, count).offset(offset).build()
            }
            Command::Flush => opcode::Fsync::new(file).flags(types::FsyncFlags::DATASYNC).build(),
        };
        // SAFETY: the caller keeps what the entry names.
        let pushed = unsafe { self.ring.submission().push(&entry.user_data(token)) }.is_ok();
        self.queued |= pushed;
        pushed
    }

    /// Whether the kernel has not been told of everything.
    pub fn queued(&self) -> bool {
        self.queued
    }

    /// Gives the kernel what is queued. False when it has no room now: try again.
    pub fn submit(&mut self) -> io::Result<bool> {
        if self.queued {
            if !self.enter(0)? {
                return Ok(false);
            }
            self.queued = !self.ring.submission().is_empty();
        }
        Ok(!self.queued)
    }

    /// As [`Uring::submit`], then waits until a completion is there. May return early.
    pub fn wait(&mut self) -> io::Result<()> {
        self.enter(1).map(drop)
    }

    /// Takes a completion: its token, and what the system call would have returned (a negative error number).
    pub fn next(&mut self) -> Option<(u64, i32)> {
        self.ring.completion().next().map(|entry| (entry.user_data(), entry.result()))
    }

    fn enter(&mut self, wanted: usize) -> io::Result<bool> {
        match self.ring.submit_and_wait(wanted) {
            Ok(_) => Ok(true),
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR | libc::EAGAIN | libc::EBUSY) => Ok(false),
                _ => Err(error),
            },
        }
    }
}
