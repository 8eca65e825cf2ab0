//! What the socket device does: packets between the queues and the muxer.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use super::muxer::Muxer;
use crate::metrics::VsockMetrics;
use crate::virtio::device::{NeedsReset, Turn, Worker};
use crate::virtio::io_vectors::IoVectors;
use crate::virtio::ring::Ring;

const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
/// How many packets the guest gets before other devices have their turn.
const TURN_LENGTH: usize = 256;
/// The token of the muxer's descriptor.
const MUXER: u16 = 0;

/// Serves a guest's sockets.
pub struct VsockWorker {
    receive: Ring,
    transmit: Ring,
    muxer: Muxer,
    vectors: IoVectors,
    metrics: Arc<VsockMetrics>,
}

impl VsockWorker {
    /// A worker for the receive, transmit and event queues. Nothing is ever sent on the last one: it tells
    /// guests that they were moved.
    pub fn new(
        [receive, transmit, _events]: [Ring; 3],
        muxer: Muxer,
        metrics: Arc<VsockMetrics>,
    ) -> VsockWorker {
        let vectors = IoVectors::new(receive.memory().clone());
        VsockWorker { receive, transmit, muxer, vectors, metrics }
    }

    /// Takes the guest's packets.
    fn transmit(&mut self) -> Result<Turn, NeedsReset> {
        let (muxer, vectors) = (&mut self.muxer, &mut self.vectors);
        self.transmit.serve(|memory, chain| muxer.take(memory, chain, vectors).map(|()| 0))
    }

    /// Fills the guest's buffers with packets, as long as there are both.
    fn deliver(&mut self) -> Result<Turn, NeedsReset> {
        let mut turn = Turn::Done;
        let mut left = TURN_LENGTH;
        while self.muxer.has_output() {
            if left == 0 {
                turn = Turn::More;
                break;
            }
            left -= 1;
            if !self.receive.pop()? {
                // No notification is wanted unless packets wait for buffers.
                if self.receive.listen()? {
                    continue;
                }
                break;
            }
            match self.muxer.give(self.receive.memory(), self.receive.chain(), &mut self.vectors)? {
                Some(length) => self.receive.push(self.receive.chain().head(), length)?,
                None => self.receive.unpop(),
            }
        }
        self.receive.signal()?;
        Ok(turn)
    }
}

impl Worker for VsockWorker {
    fn descriptors(&self) -> Vec<(RawFd, u16)> {
        vec![(self.muxer.as_raw_fd(), MUXER)]
    }

    fn queue_notified(&mut self, index: u16) -> Result<Turn, NeedsReset> {
        let sent = match index {
            TRANSMIT => {
                self.metrics.tx_queue_event_count.increment();
                self.transmit().inspect_err(|_| self.metrics.tx_queue_event_fails.increment())?
            }
            RECEIVE => {
                self.metrics.rx_queue_event_count.increment();
                self.receive.hush()?;
                Turn::Done
            }
            _ => Turn::Done,
        };
        let delivered = self.deliver().inspect_err(|_| self.metrics.rx_queue_event_fails.increment())?;
        Ok(if delivered == Turn::More { delivered } else { sent })
    }

    fn descriptor_ready(&mut self, _token: u16) -> Result<Turn, NeedsReset> {
        self.muxer.poll();
        self.deliver().inspect_err(|_| self.metrics.rx_queue_event_fails.increment())
    }
}

impl Drop for VsockWorker {
    fn drop(&mut self) {
        // The guest may turn itself off right behind its last words: they are in the queue, and taken now. No
        // more than a queue holds can be there. A queue that is broken says nothing any more.
        let _ = self.transmit();
    }
}

#[cfg(test)]
#[path = "vsock_tests.rs"]
mod tests;
