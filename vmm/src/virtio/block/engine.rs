//! How reads, writes and flushes reach the host: all that were queued at once, or in flight while others go on.

use std::io;
use std::os::fd::RawFd;

use super::batch::Batch;
use super::uring::Uring;

/// One request for the kernel.
#[derive(Clone, Copy)]
pub enum Command {
    /// `preadv`: fills the vectors.
    Read { vectors: (*const libc::iovec, u32), offset: u64 },
    /// `pwritev`.
    Write { vectors: (*const libc::iovec, u32), offset: u64 },
    /// `fdatasync`, of what was written before.
    Flush,
}

/// What carries commands out.
pub enum Engine {
    /// Carries out what is queued in [`Engine::submit`], which returns when all of it has ended.
    Batch(Batch),
    /// Starts what is queued in [`Engine::submit`]; the kernel ends it whenever it likes.
    Uring(Uring),
}

impl Engine {
    /// Readable (level-triggered) while completions wait that did not come with [`Engine::submit`].
    pub fn descriptor(&self) -> Option<RawFd> {
        match self {
            Engine::Batch(_) => None,
            Engine::Uring(ring) => Some(ring.descriptor()),
        }
    }

    /// How many commands it takes.
    pub fn entries(&self) -> usize {
        match self {
            Engine::Batch(_) => Batch::ENTRIES,
            Engine::Uring(ring) => ring.entries(),
        }
    }

    /// Queues `command` on `file` for the next [`Engine::submit`]; `token` comes back with its completion.
    /// False when there is no room.
    ///
    /// # Safety
    /// Until the completion is taken with [`Engine::next`], the file must stay open, and the command's vectors
    /// and the memory that they name must stay where they are; nobody may hold references into memory that
    /// is read to.
    #[allow(unsafe_code, reason = "hands the caller's promise on")]
    pub unsafe fn push(&mut self, file: RawFd, command: &Command, token: u64) -> bool {
        match self {
            // SAFETY: the caller promises what is asked for.
            Engine::Batch(batch) => unsafe { batch.push(file, command, token) },
            // SAFETY: as above.
            Engine::Uring(ring) => unsafe { ring.push(file, command, token) },
        }
    }

    /// Whether something is queued.
    pub fn queued(&self) -> bool {
        match self {
            Engine::Batch(batch) => batch.queued(),
            Engine::Uring(ring) => ring.queued(),
        }
    }

    /// Gives the kernel what is queued. False when it has no room now: try again.
    pub fn submit(&mut self) -> io::Result<bool> {
        match self {
            Engine::Batch(batch) => {
                batch.submit();
                Ok(true)
            }
            Engine::Uring(ring) => ring.submit(),
        }
    }

    /// As [`Engine::submit`], then waits until a completion is there. May return early.
    pub fn wait(&mut self) -> io::Result<()> {
        match self {
            Engine::Batch(batch) => batch.wait(),
            Engine::Uring(ring) => ring.wait(),
        }
    }

    /// Takes a completion: its token, and what the system call would have returned (a negative error number).
    pub fn next(&mut self) -> Option<(u64, i32)> {
        match self {
            Engine::Batch(batch) => batch.next(),
            Engine::Uring(ring) => ring.next(),
        }
    }
}
