//! The control queue: how many pairs of queues the driver uses (virtio 1.2 section 5.1.6.5.5).

use std::sync::Arc;

use virtio_bindings::virtio_net::{VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, VIRTIO_NET_OK};

use crate::memory::GuestMemory;
use crate::net::Port;
use crate::virtio::chain::Chain;
use crate::virtio::device::{NeedsReset, Turn, Worker};
use crate::virtio::ring::Ring;

/// What every command that is not obeyed is answered with (`VIRTIO_NET_ERR`).
const REFUSED: u8 = 1;
/// Class, command, and for the one that is known how many pairs.
const COMMAND_SIZE: u64 = 4;

/// Obeys the control queue.
pub struct ControlWorker {
    ring: Ring,
    ports: Vec<Arc<Port>>,
}

impl ControlWorker {
    /// One that switches these ends of the host, of which the first is always on.
    pub fn new(ring: Ring, ports: Vec<Arc<Port>>) -> ControlWorker {
        ControlWorker { ring, ports }
    }
}

impl Worker for ControlWorker {
    fn queue_notified(&mut self, _index: u16) -> Result<Turn, NeedsReset> {
        let ControlWorker { ring, ports } = self;
        ring.serve(|memory, chain| {
            let answer = obey(memory, chain, ports);
            // Who leaves no room for an answer gets none.
            let told = chain.writable().split_at(1).0.write(memory, &[answer]).is_ok();
            Ok(u32::from(told))
        })
    }
}

fn obey(memory: &GuestMemory, chain: &Chain, ports: &[Arc<Port>]) -> u8 {
    let mut command = [0; COMMAND_SIZE as usize];
    let readable = chain.readable();
    if readable.len() != COMMAND_SIZE || readable.read(memory, &mut command).is_err() {
        return REFUSED;
    }
    let [class, number, low, high] = command;
    let pairs = usize::from(u16::from_le_bytes([low, high]));
    let known =
        (u32::from(class), u32::from(number)) == (VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET);
    if !known || !(1..=ports.len()).contains(&pairs) {
        return REFUSED;
    }
    match use_pairs(ports, pairs) {
        Ok(()) => VIRTIO_NET_OK as u8,
        Err(_) => REFUSED,
    }
}

/// Lets the host give frames by the first `pairs` ends alone.
pub fn use_pairs(ports: &[Arc<Port>], pairs: usize) -> std::io::Result<()> {
    ports.iter().enumerate().try_for_each(|(number, port)| port.switch(number < pairs))
}
