//! What the network device does: frames between the queues and the tap.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;

use super::receive::{Progress, Receive};
use super::{FRAME_MAX, HEADER_SIZE};
use crate::net::Tap;
use crate::virtio::chain::Chain;
use crate::virtio::device::{NeedsReset, Turn, Worker};
use crate::virtio::io_vectors::IoVectors;
use crate::virtio::ring::Ring;

const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
/// How many frames the guest gets before others have their turn.
const TURN_LENGTH: usize = 128;
/// The token of the tap.
const TAP: u16 = 0;

/// Serves a network interface.
pub struct NetWorker {
    receive: Receive,
    transmit: Ring,
    tap: Arc<Tap>,
    vectors: IoVectors,
    /// Whether frames of the tap are waited for: not while there is no room for them.
    listening: bool,
}

impl NetWorker {
    /// A worker for the queues.
    pub fn new(receive: Receive, transmit: Ring, tap: Arc<Tap>) -> NetWorker {
        let vectors = IoVectors::new(transmit.memory().clone());
        NetWorker { receive, transmit, tap, vectors, listening: true }
    }

    /// Receives what waits, as far as the driver has room and others are not kept waiting.
    fn receive(&mut self) -> Result<Turn, NeedsReset> {
        let mut left = TURN_LENGTH;
        while left != 0 {
            left -= 1;
            match self.receive.receive(self.tap.as_fd())? {
                Progress::Frame => {}
                Progress::NoFrame => {
                    self.listening = true;
                    break;
                }
                Progress::NoRoom => {
                    self.listening = false;
                    if !self.receive.listen()? {
                        break;
                    }
                }
                Progress::Dead => {
                    self.listening = false;
                    break;
                }
            }
        }
        self.receive.signal()?;
        Ok(if left == 0 { Turn::More } else { Turn::Done })
    }
}

impl Worker for NetWorker {
    fn descriptors(&self) -> Vec<(RawFd, u16)> {
        if self.listening { vec![(self.tap.as_raw_fd(), TAP)] } else { Vec::new() }
    }

    fn queue_notified(&mut self, index: u16) -> Result<Turn, NeedsReset> {
        match index {
            TRANSMIT => self.transmit.serve(|_, chain| {
                send(&self.tap, chain, &mut self.vectors);
                Ok(0)
            }),
            RECEIVE => {
                self.receive.hush()?;
                self.receive()
            }
            _ => Ok(Turn::Done),
        }
    }

    fn descriptor_ready(&mut self, _token: u16) -> Result<Turn, NeedsReset> {
        self.receive()
    }
}

/// Sends one frame. What the host does not take (too long, too short, a header that contradicts the frame, an
/// interface that is down) is lost, as on any wire.
fn send(tap: &Tap, chain: &Chain, vectors: &mut IoVectors) {
    let frame = chain.readable();
    if frame.len() <= HEADER_SIZE || frame.len() > FRAME_MAX {
        return;
    }
    vectors.clear();
    if vectors.fill(frame).is_ok() {
        let _ = vectors.write(tap.as_fd());
    }
}

#[cfg(test)]
#[path = "net_tests.rs"]
mod tests;
