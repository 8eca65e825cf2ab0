//! The host's kernel in a thread's place: `/dev/vhost-net`, of which each that is open serves a pair of a tap's queues.

use std::io;
use std::sync::Arc;

use thiserror::Error;
use vhost::net::VhostNet;
use vhost::vhost_kern::VhostKernBackend;
use vhost::vhost_kern::net::Net;
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use virtio_queue::{Queue, QueueT};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion};
use vmm_sys_util::eventfd::EventFd;

use super::Tap;
use crate::chain;
use crate::logger::Throttle;
use crate::memory::GuestMemory;

/// Why the kernel serves no queues.
#[derive(Debug, Error)]
pub enum VhostError {
    /// The host has no vhost, or not for us.
    #[error("Cannot open /dev/vhost-net")]
    Open(#[source] io::Error),
    /// It refuses, for instance as another process is its owner.
    #[error("/dev/vhost-net refuses to {operation}")]
    Refused {
        /// What it was to do.
        operation: &'static str,
        /// The cause.
        #[source]
        source: vhost::Error,
    },
    /// A ring that does not lie in one piece of the guest's memory: the kernel is given the host's address of its start.
    #[error("A ring for /dev/vhost-net is not in the guest's memory")]
    Ring,
}

/// A queue that the kernel is to serve, and what signals that its driver has more for it.
#[derive(Clone, Copy)]
pub struct Served<'a> {
    /// As the driver set it up.
    pub queue: &'a Queue,
    /// What the driver's notifications signal.
    pub doorbell: &'a EventFd,
}

/// What the kernel signals.
#[derive(Clone, Copy)]
pub struct Signals<'a> {
    /// Buffers were used, and the driver wants to know.
    pub used: &'a EventFd,
    /// The rings make no sense.
    pub failed: &'a EventFd,
}

/// A pair of queues that the kernel can serve.
pub struct Vhost {
    net: Net<Arc<GuestMemory>>,
    features: u64,
    throttle: Throttle,
}

impl Vhost {
    /// Opens the kernel's end; nothing is served yet.
    pub fn open(memory: &GuestMemory) -> Result<Vhost, VhostError> {
        let net = Net::new(Arc::new(memory.clone())).map_err(|error| match error {
            vhost::Error::VhostOpen(source) => VhostError::Open(source),
            source => VhostError::Refused { operation: "open", source },
        })?;
        let features = net.get_features().map_err(refused("tell its features"))?;
        Ok(Vhost { net, features, throttle: Throttle::default() })
    }

    /// The features that the kernel knows, of rings and of the header before each frame.
    pub fn features(&self) -> u64 {
        self.features
    }

    /// Gives the kernel receive and transmit queue, of which it serves none before [`Vhost::attach`]. After an error
    /// as after its work it takes others only after [`Vhost::release`].
    pub fn set_up(
        &self,
        features: u64,
        pair: [Served<'_>; 2],
        signals: Signals<'_>,
    ) -> Result<(), VhostError> {
        let memory = self.net.mem();
        self.net.set_owner().map_err(refused("work for this process"))?;
        self.net.set_features(features).map_err(refused("take the driver's features"))?;
        let region = |region: &vm_memory::GuestRegionMmap<()>| VhostUserMemoryRegionInfo {
            guest_phys_addr: region.start_addr().0,
            memory_size: region.len(),
            userspace_addr: region.as_ptr() as u64,
            ..VhostUserMemoryRegionInfo::default()
        };
        let regions: Vec<_> = memory.iter().map(region).collect();
        self.net.set_mem_table(&regions).map_err(refused("take the guest's memory"))?;
        for (index, Served { queue, doorbell }) in pair.into_iter().enumerate() {
            if queue.ready() {
                check_rings(memory, queue)?;
                self.set_up_queue(index, queue, doorbell, signals).map_err(refused("take a queue"))?;
            }
        }
        Ok(())
    }

    fn set_up_queue(
        &self,
        index: usize,
        queue: &Queue,
        doorbell: &EventFd,
        signals: Signals<'_>,
    ) -> Result<(), vhost::Error> {
        let rings = VringConfigData {
            queue_max_size: queue.max_size(),
            queue_size: queue.size(),
            flags: 0,
            desc_table_addr: queue.desc_table(),
            used_ring_addr: queue.used_ring(),
            avail_ring_addr: queue.avail_ring(),
            log_addr: None,
        };
        self.net.set_vring_num(index, queue.size())?;
        self.net.set_vring_base(index, queue.next_avail())?;
        self.net.set_vring_addr(index, &rings)?;
        self.net.set_vring_kick(index, doorbell)?;
        self.net.set_vring_call(index, signals.used)?;
        self.net.set_vring_err(index, signals.failed)
    }

    /// Lets the kernel serve queue `index` (0 receives, 1 transmits) with what `tap` brings and takes. It finds
    /// what came before.
    pub fn attach(&self, index: usize, tap: &Tap) -> Result<(), VhostError> {
        self.net.set_backend(index, Some(tap.file())).map_err(refused("serve the tap"))
    }

    /// Takes queue `index` from the kernel, which keeps its place in it. When this returns it does not touch it.
    pub fn detach(&self, index: usize) {
        // Fails for what was never set up, and then there is nothing to be taken away.
        let _ = self.net.set_backend(index, None);
    }

    /// Tells who runs the host why it does not work. A guest may cause that as often as it likes.
    pub fn complain(&self, error: &VhostError) {
        if self.throttle.passes() {
            log::warn!("{}", chain(error));
        }
    }

    /// Lets the kernel forget queues, memory and signals.
    pub fn release(&self) {
        // Fails for who was never the owner, or without memory; the next driver is refused then.
        let _ = self.net.reset_owner();
    }
}

fn refused(operation: &'static str) -> impl FnOnce(vhost::Error) -> VhostError {
    move |source| VhostError::Refused { operation, source }
}

/// Each ring has to be one piece of the host's memory, whole: the kernel reads and writes on from its start.
fn check_rings(memory: &GuestMemory, queue: &Queue) -> Result<(), VhostError> {
    let size = usize::from(queue.size());
    // Virtio 1.2 sections 2.7.5, 2.7.6 and 2.7.8, with the event index.
    let rings = [
        (queue.desc_table(), 16 * size),
        (queue.avail_ring(), 6 + 2 * size),
        (queue.used_ring(), 6 + 8 * size),
    ];
    for (address, length) in rings {
        memory.get_slice(GuestAddress(address), length).map_err(|_| VhostError::Ring)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two regions that are neighbours in the guest, and not on the host.
    fn memory() -> GuestMemory {
        GuestMemory::from_ranges(&[(GuestAddress(0), 1 << 16), (GuestAddress(1 << 16), 1 << 16)]).unwrap()
    }

    fn queue(descriptors: u64, driver: u64, device: u64) -> Queue {
        let mut queue = Queue::new(256).unwrap();
        queue.try_set_desc_table_address(GuestAddress(descriptors)).unwrap();
        queue.try_set_avail_ring_address(GuestAddress(driver)).unwrap();
        queue.try_set_used_ring_address(GuestAddress(device)).unwrap();
        queue
    }

    #[test]
    fn rings_that_are_not_one_piece_of_memory_are_refused() {
        let memory = memory();
        let fine = |queue: &Queue| check_rings(&memory, queue).is_ok();
        assert!(fine(&queue(0, 0x2000, 0x4000)));
        // Up to the last byte of a region, and one step on.
        assert!(fine(&queue(0xf000, 0x2000, 0x1_f7f8)));
        assert!(!fine(&queue(0xf010, 0x2000, 0x4000)));
        assert!(!fine(&queue(0, 0xfdfc, 0x4000)));
        assert!(!fine(&queue(0, 0x2000, 0xf7fc)));
        assert!(!fine(&queue(0, 0x2000, 0x1_f7fc)));
        assert!(!fine(&queue(1 << 50, 0x2000, 0x4000)));
    }

    #[test]
    fn the_kernel_s_end_opens_or_the_path_is_named() {
        match Vhost::open(&memory()) {
            Ok(vhost) => assert_ne!(vhost.features() & 1 << 32, 0, "version 1"),
            Err(error) => assert_eq!(error.to_string(), "Cannot open /dev/vhost-net"),
        }
    }
}
