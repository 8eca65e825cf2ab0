//! Standard input to the guest, no faster than the guest reads it.

use std::io::{IsTerminal, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use vmm_sys_util::terminal::Terminal;

use crate::virtio::worker_loop::WorkerLoopHandle;

/// How many bytes are read at once.
const READ: usize = 512;

/// A device that takes the console's input.
pub trait InputPort: Send + Sync {
    /// How many bytes of input fit now. If none does, `resume` is called once when some do: on any thread,
    /// perhaps with this port locked.
    fn room_or(&self, resume: Box<dyn FnOnce() + Send>) -> usize;
    /// Hands input to the guest; what does not fit is lost.
    fn receive(&self, input: &[u8]);
}

/// Listens to `input` on the event loop and hands it to `port`, until its end. An input that cannot be
/// waited for (a file, `/dev/null`) is not read.
pub fn listen(worker_loop: &WorkerLoopHandle, input: OwnedFd, port: Arc<dyn InputPort>) {
    let source = Arc::new(Source { input: input.into(), port, worker_loop: worker_loop.clone() });
    source.register();
}

/// A terminal on standard input, passing every key on as it is; as before when this is dropped.
pub struct RawTerminal(());

impl RawTerminal {
    /// Makes the terminal raw, where standard input is one.
    pub fn set() -> Option<Self> {
        let input = std::io::stdin();
        (input.is_terminal() && input.lock().set_raw_mode().is_ok()).then_some(Self(()))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // The terminal may be gone.
        let _ = std::io::stdin().lock().set_canon_mode();
    }
}

struct Source {
    input: std::fs::File,
    port: Arc<dyn InputPort>,
    worker_loop: WorkerLoopHandle,
}

impl Source {
    fn register(self: Arc<Self>) {
        let descriptor = self.input.as_raw_fd();
        let worker_loop = self.worker_loop.clone();
        // Refused for inputs that are always ready, which then stay unread.
        let _ = worker_loop.add_reader(descriptor, Box::new(move || self.ready()));
    }

    /// Reads what fits; tells whether to go on listening.
    fn ready(self: &Arc<Self>) -> bool {
        // Stops listening until the guest has read: an input that stays ready would keep the loop busy.
        let source = self.clone();
        let room = self.port.room_or(Box::new(move || source.register()));
        if room == 0 {
            return false;
        }
        let mut buffer = [0; READ];
        let buffer = buffer.get_mut(..room.min(READ)).unwrap_or_default();
        match (&self.input).read(buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.port.receive(buffer.get(..count).unwrap_or_default());
                true
            }
            Err(error) => {
                matches!(error.kind(), std::io::ErrorKind::Interrupted | std::io::ErrorKind::WouldBlock)
            }
        }
    }
}
