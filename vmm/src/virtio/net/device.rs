//! What the network device is.

use std::io;
use std::sync::Arc;

use virtio_bindings::virtio_net::{
    VIRTIO_NET_F_CSUM, VIRTIO_NET_F_CTRL_VQ, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_TSO4,
    VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_GUEST_UFO, VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_HOST_TSO6,
    VIRTIO_NET_F_HOST_UFO, VIRTIO_NET_F_MAC, VIRTIO_NET_F_MQ, VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_F_MTU,
};

use super::control::{ControlWorker, use_pairs};
use super::kernel;
use super::limits::{InterfaceHandle, SharedLimits};
use super::metadata::Metadata;
use super::receive::Receive;
use super::worker::{NetWorker, Shared};
use super::{FRAME_MAX, FRAME_MAX_PLAIN, FRAME_OVERHEAD};
use crate::config::{MmdsConfig, NetworkInterface};
use crate::metrics::NetMetrics;
use crate::mmds::{Mmds, Wire};
use crate::net::{Offload, Port, Vhost};
use crate::virtio::device::{Activation, NeedsReset, Share, VirtioDevice, read_config_space};
use crate::virtio::features;
use crate::virtio::ring::Ring;

/// Virtio 1.2 section 5.1.
const DEVICE_TYPE: u32 = 1;
/// Of a receive or a transmit queue.
const QUEUE_SIZE: u16 = 256;
/// Of the control queue.
const CONTROL_SIZE: u16 = 64;
/// What several pairs of queues need.
const PAIRS: u64 = 1 << VIRTIO_NET_F_MQ | 1 << VIRTIO_NET_F_CTRL_VQ;
/// What every interface has.
const FEATURES: u64 = features::COMMON | 1 << VIRTIO_NET_F_MAC | 1 << VIRTIO_NET_F_MRG_RXBUF;
/// What the driver may leave to us, and we to the driver; the host's kernel does both.
const OFFLOADS: u64 = 1 << VIRTIO_NET_F_CSUM
    | 1 << VIRTIO_NET_F_HOST_TSO4
    | 1 << VIRTIO_NET_F_HOST_TSO6
    | 1 << VIRTIO_NET_F_HOST_UFO
    | 1 << VIRTIO_NET_F_GUEST_CSUM
    | 1 << VIRTIO_NET_F_GUEST_TSO4
    | 1 << VIRTIO_NET_F_GUEST_TSO6
    | 1 << VIRTIO_NET_F_GUEST_UFO;

/// Where the number of pairs of queues is in the configuration space, behind the address and the link's status, and
/// behind it the MTU (virtio 1.2 section 5.1.4).
const PAIRS_OFFSET: usize = 8;
const MTU_OFFSET: usize = 10;

/// What Ethernet has when nobody says.
const MTU_USUAL: u16 = 1500;

/// A network interface.
pub struct NetDevice {
    id: String,
    config: [u8; MTU_OFFSET + 2],
    mtu: Option<u16>,
    shared: Shared,
    /// The host's ends, one a pair of queues.
    ports: Vec<Arc<Port>>,
    /// The kernel's, one a pair, where it serves the queues.
    vhost: Vec<Arc<Vhost>>,
    queue_sizes: Vec<u16>,
    metadata: Option<(Mmds, Wire)>,
}

impl NetDevice {
    /// The interface that `spec` describes, with a pair of queues for each of `ports`. Fails when the host has no timers for
    /// its limits.
    pub fn new(spec: &NetworkInterface, ports: Vec<Port>, metrics: Arc<NetMetrics>) -> io::Result<NetDevice> {
        let mut config = [0; MTU_OFFSET + 2];
        let (front, mtu) = config.split_at_mut(MTU_OFFSET);
        for (to, from) in front.iter_mut().zip(spec.mac()) {
            *to = from;
        }
        let pairs = u16::from(spec.pairs());
        if let (true, Some(place)) = (pairs > 1, front.get_mut(PAIRS_OFFSET..)) {
            place.copy_from_slice(&pairs.to_le_bytes());
        }
        mtu.copy_from_slice(&spec.mtu.unwrap_or_default().to_le_bytes());
        let limits = SharedLimits::new(spec)?;
        let ports: Vec<Arc<Port>> = ports.into_iter().map(Arc::new).collect();
        let first = ports.first().ok_or(io::ErrorKind::InvalidInput)?;
        let shared = Shared { port: Arc::clone(first), mac: spec.mac(), limits, metrics };
        let mut queue_sizes = vec![QUEUE_SIZE; 2 * ports.len()];
        if ports.len() > 1 {
            queue_sizes.push(CONTROL_SIZE);
        }
        let (id, mtu) = (spec.iface_id.clone(), spec.mtu);
        Ok(NetDevice { id, config, mtu, shared, ports, vhost: Vec::new(), queue_sizes, metadata: None })
    }

    /// The same with the metadata service on it, whose frames the host never sees.
    pub fn with_metadata(mut self, mmds: Mmds, config: MmdsConfig) -> NetDevice {
        let mtu = self.mtu.unwrap_or(MTU_USUAL);
        self.metadata = Some((mmds, Wire { config, mtu }));
        self
    }

    /// The same with the kernel in the worker's place, by one of these for each pair of queues.
    pub fn with_vhost(mut self, vhost: Vec<Vhost>) -> NetDevice {
        self.vhost = vhost.into_iter().map(Arc::new).collect();
        self
    }

    /// One without limits, counted for nobody.
    #[cfg(test)]
    pub fn plain(tap: crate::net::Tap, mac: [u8; 6]) -> NetDevice {
        let mac = crate::config::MacAddress(mac);
        let spec = serde_json::json!({"iface_id": "eth0", "host_dev_name": "tap0", "guest_mac": mac});
        NetDevice::new(&serde_json::from_value(spec).unwrap(), vec![Port::Tap(tap)], Arc::default()).unwrap()
    }

    /// The way to change it while it runs.
    pub fn handle(&self) -> InterfaceHandle {
        InterfaceHandle::new(self.shared.limits.clone())
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
        let offloads = if self.shared.port.offloads() { OFFLOADS } else { 0 };
        let pairs = if self.ports.len() > 1 { PAIRS } else { 0 };
        let ours = FEATURES | offloads | pairs | u64::from(self.mtu.is_some()) << VIRTIO_NET_F_MTU;
        // What the kernel would have to know must be known to all of it.
        self.vhost.iter().fold(ours, |ours, vhost| ours & (vhost.features() | !kernel::FEATURES))
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_config_space(&self.config, offset, data);
    }

    fn threads(&self) -> usize {
        if self.ports.len() > 1 && self.vhost.is_empty() { self.ports.len() } else { 0 }
    }

    fn activate(&mut self, activation: Activation<'_>) -> Result<Vec<Share>, NeedsReset> {
        let failed = || self.shared.metrics.activate_fails.increment();
        self.workers(activation).inspect_err(|_| failed())
    }
}

impl NetDevice {
    fn workers(&self, activation: Activation<'_>) -> Result<Vec<Share>, NeedsReset> {
        let accepted = activation.features;
        let has = |bit: u32| accepted & 1 << bit != 0;
        self.shared.port.set_offload(offload(accepted)).map_err(|_| NeedsReset)?;
        // Without the feature there is one pair, and the control queue is behind that.
        let pairs = if has(VIRTIO_NET_F_MQ) { self.ports.len() } else { 1 };
        use_pairs(&self.ports, 1).map_err(|_| NeedsReset)?;
        let metrics = &self.shared.metrics;
        let by_kernel = self.vhost.iter().zip(&self.ports).take(pairs).enumerate();
        let by_kernel =
            by_kernel.map(|(number, (vhost, port))| kernel::share(vhost, port, number, &activation, metrics));
        let mut shares = by_kernel.collect::<Result<Vec<_>, _>>()?;
        let mut rings = Ring::from_activation(activation);
        let behind = rings.split_off(rings.len().min(2 * pairs));
        if self.vhost.is_empty() {
            shares = self.pairs(rings, accepted)?;
        }
        if let (true, Some(ring)) = (has(VIRTIO_NET_F_CTRL_VQ), behind.into_iter().next()) {
            let worker = Box::new(ControlWorker::new(ring, self.ports.iter().take(pairs).cloned().collect()));
            shares.push(Share { worker, queues: 2 * pairs..2 * pairs + 1, used: None });
        }
        Ok(shares)
    }

    /// Workers of ours for `rings`, two a pair.
    fn pairs(&self, rings: Vec<Ring>, accepted: u64) -> Result<Vec<Share>, NeedsReset> {
        let Offload { tso4, tso6, ufo, .. } = offload(accepted);
        let plain = FRAME_MAX_PLAIN.max(u64::from(self.mtu.unwrap_or_default()) + FRAME_OVERHEAD);
        let frame_max = if tso4 || tso6 || ufo { FRAME_MAX } else { plain };
        let mergeable = accepted & 1 << VIRTIO_NET_F_MRG_RXBUF != 0;
        let mut shares = Vec::new();
        let mut rings = rings.into_iter();
        for (number, port) in self.ports.iter().enumerate() {
            let (Some(receive), Some(transmit)) = (rings.next(), rings.next()) else { break };
            let receive = Receive::new(receive, frame_max, mergeable);
            let metadata = self.metadata.clone().map(|(mmds, wire)| Metadata::new(mmds, wire));
            let metadata = metadata.transpose().map_err(|_| NeedsReset)?;
            let shared = Shared { port: Arc::clone(port), ..self.shared.clone() };
            let worker = Box::new(NetWorker::new(receive, transmit, shared, metadata));
            shares.push(Share { worker, queues: 2 * number..2 * number + 2, used: None });
        }
        Ok(shares)
    }
}

/// What a driver with these features finishes itself.
fn offload(accepted: u64) -> Offload {
    let has = |bit: u32| accepted & 1 << bit != 0;
    // It cannot take unfinished packets without unfinished checksums (section 5.1.3.1).
    let checksum = has(VIRTIO_NET_F_GUEST_CSUM);
    Offload {
        checksum,
        tso4: checksum && has(VIRTIO_NET_F_GUEST_TSO4),
        tso6: checksum && has(VIRTIO_NET_F_GUEST_TSO6),
        ufo: checksum && has(VIRTIO_NET_F_GUEST_UFO),
    }
}

#[cfg(test)]
#[path = "pairs_tests.rs"]
mod pairs_tests;
