//! Input on its way to the guest.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::console::InputPort;

/// How much input waits for a guest that does not read.
const WAITING: usize = 4096;

/// Input that waits for the guest's driver: what came before the driver, too, and what a reset left over.
/// Cheap to clone.
#[derive(Clone)]
pub struct Typed(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    came: EventFd,
}

#[derive(Default)]
struct Queue {
    bytes: VecDeque<u8>,
    /// Called once when there is room again.
    on_room: Option<Box<dyn FnOnce() + Send>>,
}

impl Typed {
    /// Nothing yet. Fails when the host has no descriptor for it.
    pub fn new() -> io::Result<Typed> {
        Ok(Typed(Arc::new(Shared { queue: Mutex::default(), came: EventFd::new(EFD_NONBLOCK)? })))
    }

    /// Readable when something has come since [`Typed::heard`].
    pub fn descriptor(&self) -> RawFd {
        self.0.came.as_raw_fd()
    }

    /// Takes notice of what has come.
    pub fn heard(&self) {
        // Nothing to read when nothing came, which is as well.
        let _ = self.0.came.read();
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue().bytes.is_empty()
    }

    /// Takes the first bytes, as many as `into` has room for; tells how many.
    pub fn take(&self, into: &mut [u8]) -> usize {
        let mut queue = self.queue();
        let count = queue.bytes.len().min(into.len());
        for (to, from) in into.iter_mut().zip(queue.bytes.drain(..count)) {
            *to = from;
        }
        let on_room = queue.on_room.take();
        drop(queue);
        if let Some(resume) = on_room {
            resume();
        }
        count
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InputPort for Typed {
    fn room_or(&self, resume: Box<dyn FnOnce() + Send>) -> usize {
        let mut queue = self.queue();
        let room = WAITING.saturating_sub(queue.bytes.len());
        if room == 0 {
            queue.on_room = Some(resume);
        }
        room
    }

    fn receive(&self, input: &[u8]) {
        let mut queue = self.queue();
        let room = WAITING.saturating_sub(queue.bytes.len());
        queue.bytes.extend(input.iter().take(room));
        drop(queue);
        // Fails only when the descriptor's count is full, and then it is readable.
        let _ = self.0.came.write(1);
    }
}
