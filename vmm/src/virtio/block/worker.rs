//! What the block device does: one request after the other, in the order of the queue.

use std::sync::Arc;

use super::request::{Disk, serve};
use crate::virtio::device::{NeedsReset, Turn, Worker};
use crate::virtio::io_vectors::IoVectors;
use crate::virtio::ring::Ring;

/// Serves a drive's requests.
pub struct BlockWorker {
    requests: Ring,
    vectors: IoVectors,
    disk: Arc<Disk>,
}

impl BlockWorker {
    /// A worker for the queue of requests.
    pub fn new(requests: Ring, disk: Arc<Disk>) -> BlockWorker {
        let vectors = IoVectors::new(requests.memory().clone());
        BlockWorker { requests, vectors, disk }
    }
}

impl Worker for BlockWorker {
    fn queue_notified(&mut self, _index: u16) -> Result<Turn, NeedsReset> {
        self.requests.serve(|memory, chain| serve(&self.disk, memory, chain, &mut self.vectors))
    }
}
