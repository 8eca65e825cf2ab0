//! A loop on a thread of its own: the one that all devices share, or one that a device has for itself.

use std::thread::{Builder, JoinHandle};

use super::{WorkerLoop, WorkerLoopHandle};
use crate::chain;
use crate::virtio::error::VirtioError;

/// Workers need little; buffers are elsewhere.
const STACK_SIZE: usize = 256 << 10;

/// A thread that runs a loop; ends with its owner.
pub struct LoopThread {
    handle: WorkerLoopHandle,
    thread: Option<JoinHandle<()>>,
}

impl LoopThread {
    /// Starts one; of its `name` the first 15 bytes are shown by the host's tools.
    pub fn start(name: &str) -> Result<LoopThread, VirtioError> {
        let worker_loop = WorkerLoop::new()?;
        let handle = worker_loop.handle();
        let run = move || {
            if let Err(error) = worker_loop.run() {
                eprintln!("{}", chain(&error));
            }
        };
        let thread = Builder::new().name(name.to_owned()).stack_size(STACK_SIZE).spawn(run);
        let thread = thread.map_err(|source| VirtioError::Thread { name: name.to_owned(), source })?;
        Ok(LoopThread { handle, thread: Some(thread) })
    }

    /// A way to reach its loop.
    pub fn handle(&self) -> &WorkerLoopHandle {
        &self.handle
    }
}

impl Drop for LoopThread {
    fn drop(&mut self) {
        if self.handle.stop().is_ok()
            && let Some(thread) = self.thread.take()
        {
            // A panic on that thread has been reported by it.
            let _ = thread.join();
        }
    }
}
