//! Standard input to the guest's serial port, no faster than the guest reads it.

use std::io::{IsTerminal, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex};

use vmm_sys_util::terminal::Terminal;

use crate::legacy::serial::{SerialPort, lock};
use crate::virtio::worker_loop::WorkerLoopHandle;

/// Listens to `input` on the event loop and hands it to `port`, until its end. An input that cannot be
/// waited for (a file, `/dev/null`) is not read.
pub fn listen(worker_loop: &WorkerLoopHandle, input: OwnedFd, port: &Arc<Mutex<SerialPort>>) {
    let source =
        Arc::new(Source { input: input.into(), port: port.clone(), worker_loop: worker_loop.clone() });
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
    port: Arc<Mutex<SerialPort>>,
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
        let mut port = lock(&self.port);
        let room = port.room();
        if room == 0 {
            // Stops listening until the guest has read: an input that stays ready would keep the loop busy.
            let source = self.clone();
            port.when_empty(Box::new(move || source.register()));
            return false;
        }
        let mut buffer = [0; 64];
        let buffer = buffer.get_mut(..room).unwrap_or_default();
        match (&self.input).read(buffer) {
            Ok(0) => false,
            Ok(count) => {
                port.receive(buffer.get(..count).unwrap_or_default());
                true
            }
            Err(error) => {
                matches!(error.kind(), std::io::ErrorKind::Interrupted | std::io::ErrorKind::WouldBlock)
            }
        }
    }
}
