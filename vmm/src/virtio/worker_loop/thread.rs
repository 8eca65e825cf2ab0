//! A loop on a thread of its own: the one that all devices share, or one that a device has for itself.

#![allow(unsafe_code, reason = "sched_setscheduler takes a pointer")]

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
    /// Starts one; of its `name` the first 15 bytes are shown by the host's tools. What it does gains by being done in
    /// batches: where it shares a processor with a vCPU, that goes on until it has nothing to do or its time is up, and
    /// is not pushed aside by the first request that it makes.
    pub fn start(name: &str) -> Result<LoopThread, VirtioError> {
        let worker_loop = WorkerLoop::new()?;
        let handle = worker_loop.handle();
        let run = move || {
            let priority = libc::sched_param { sched_priority: 0 };
            // SAFETY: the pointer is to a live value, which the kernel copies; 0 is this thread. A kernel that
            // refuses leaves it as it was.
            unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const priority) };
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
