//! What the network device is.

use std::sync::Arc;

use virtio_bindings::virtio_net::{
    VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO6,
    VIRTIO_NET_F_GUEST_UFO, VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_HOST_UFO,
    VIRTIO_NET_F_MAC, VIRTIO_NET_F_MRG_RXBUF,
};

use super::receive::Receive;
use super::worker::NetWorker;
use super::{FRAME_MAX, FRAME_MAX_PLAIN};
use crate::net::{Offload, Tap};
use crate::virtio::device::{Activation, NeedsReset, VirtioDevice, Worker, read_config_space};
use crate::virtio::features;
use crate::virtio::ring::Ring;

/// Virtio 1.2 section 5.1.
const DEVICE_TYPE: u32 = 1;
/// Receive, transmit.
const QUEUE_SIZES: [u16; 2] = [256, 256];
/// What the driver may leave to us, and we to the driver; the host's kernel does both.
const FEATURES: u64 = features::COMMON
    | 1 << VIRTIO_NET_F_MAC
    | 1 << VIRTIO_NET_F_MRG_RXBUF
    | 1 << VIRTIO_NET_F_CSUM
    | 1 << VIRTIO_NET_F_HOST_TSO4
    | 1 << VIRTIO_NET_F_HOST_TSO6
    | 1 << VIRTIO_NET_F_HOST_UFO
    | 1 << VIRTIO_NET_F_GUEST_CSUM
    | 1 << VIRTIO_NET_F_GUEST_TSO4
    | 1 << VIRTIO_NET_F_GUEST_TSO6
    | 1 << VIRTIO_NET_F_GUEST_UFO;

/// A network interface.
#[derive(Debug)]
pub struct NetDevice {
    id: String,
    tap: Arc<Tap>,
    mac: [u8; 6],
}

impl NetDevice {
    /// An interface by the name of `id` with the address `mac`, at the other end of `tap`.
    pub fn new(id: &str, tap: Tap, mac: [u8; 6]) -> NetDevice {
        NetDevice { id: id.to_owned(), tap: Arc::new(tap), mac }
    }
}

impl VirtioDevice for NetDevice {
    fn device_type(&self) -> u32 {
        DEVICE_TYPE
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn features(&self) -> u64 {
        FEATURES
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_config_space(&self.mac, offset, data);
    }

    fn activate(&mut self, activation: Activation) -> Result<Box<dyn Worker>, NeedsReset> {
        let accepted = activation.features;
        let has = |bit: u32| accepted & 1 << bit != 0;
        // The driver cannot take unfinished packets without unfinished checksums (section 5.1.3.1).
        let checksum = has(VIRTIO_NET_F_GUEST_CSUM);
        let offload = Offload {
            checksum,
            tso4: checksum && has(VIRTIO_NET_F_GUEST_TSO4),
            tso6: checksum && has(VIRTIO_NET_F_GUEST_TSO6),
            ufo: checksum && has(VIRTIO_NET_F_GUEST_UFO),
        };
        self.tap.set_offload(offload).map_err(|_| NeedsReset)?;
        let large = offload.tso4 || offload.tso6 || offload.ufo;
        let frame_max = if large { FRAME_MAX } else { FRAME_MAX_PLAIN };
        let mergeable = has(VIRTIO_NET_F_MRG_RXBUF);
        let [receive, transmit] =
            <[Ring; 2]>::try_from(Ring::from_activation(activation)).map_err(|_| NeedsReset)?;
        let receive = Receive::new(receive, frame_max, mergeable);
        Ok(Box::new(NetWorker::new(receive, transmit, Arc::clone(&self.tap))))
    }
}
