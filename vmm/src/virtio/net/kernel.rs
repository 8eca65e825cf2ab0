//! Pairs of queues that the host's kernel serves, with no turn of ours in a frame's way.
//!
//! The driver's notifications go to the kernel, and its interrupts to the driver, both without this process: it is
//! left with what the driver asks after an interrupt (why it came), and with rings that make no sense.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use virtio_bindings::virtio_net::VIRTIO_NET_F_MRG_RXBUF;
use virtio_queue::QueueT;
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::memory::GuestMemory;
use crate::metrics::NetMetrics;
use crate::net::{Port, Served, Signals, Tap, Vhost, VhostError};
use crate::virtio::device::{Activation, NeedsReset, Share, Turn, Used, Worker};
use crate::virtio::features;

/// What is the kernel's to offer, and to know of what was agreed on. The rest is between driver and tap.
pub const FEATURES: u64 = features::COMMON | 1 << VIRTIO_NET_F_MRG_RXBUF;

/// Stands for a pair of queues while the kernel serves it.
struct KernelWorker {
    vhost: Arc<Vhost>,
    port: Arc<Port>,
    /// Which of the two the driver has set up.
    served: [bool; 2],
    /// The kernel signals it when the rings make no sense.
    failed: EventFd,
    metrics: Arc<NetMetrics>,
}

/// Gives the pair `number` of `activation` to the kernel.
pub fn share(
    vhost: &Arc<Vhost>,
    port: &Arc<Port>,
    number: usize,
    activation: &Activation<'_>,
    metrics: &Arc<NetMetrics>,
) -> Result<Share, NeedsReset> {
    let first = 2 * number;
    let served = |index: usize| {
        let (queue, doorbell) = (activation.queues.get(index)?, activation.doorbells.get(index)?);
        Some(Served { queue, doorbell })
    };
    let pair = [served(first), served(first + 1)];
    let [Some(receive), Some(transmit)] = pair else { return Err(NeedsReset) };
    let pair = [receive, transmit];
    let mut worker = KernelWorker {
        vhost: Arc::clone(vhost),
        port: Arc::clone(port),
        served: pair.map(|Served { queue, .. }| queue.ready()),
        failed: EventFd::new(EFD_NONBLOCK).map_err(|_| NeedsReset)?,
        metrics: Arc::clone(metrics),
    };
    let signals = Signals { used: activation.line, failed: &worker.failed };
    let features = activation.features & FEATURES;
    vhost.set_up(features, pair, signals).map_err(|error| worker.broken(&error))?;
    let used = used(activation.memory.clone(), pair, Arc::clone(metrics))?;
    worker.resume()?;
    Ok(Share { worker: Box::new(worker), queues: 0..0, used: Some(used) })
}

/// Whether the kernel has moved on in one of the rings since this was last asked. It does so before it interrupts.
fn used(memory: GuestMemory, pair: [Served<'_>; 2], metrics: Arc<NetMetrics>) -> Result<Used, NeedsReset> {
    let position = |memory: &GuestMemory, place| memory.load::<u16>(place, Ordering::Acquire);
    let mut rings = Vec::new();
    for Served { queue, .. } in pair.into_iter().filter(|served| served.queue.ready()) {
        // Virtio 1.2 section 2.7.8: behind the flags.
        let place = GuestAddress(queue.used_ring().checked_add(2).ok_or(NeedsReset)?);
        rings.push((place, position(&memory, place).map_err(|_| NeedsReset)?));
    }
    Ok(Box::new(move || {
        let mut moved = false;
        for (place, seen) in &mut rings {
            let now = position(&memory, *place).unwrap_or(*seen);
            moved |= std::mem::replace(seen, now) != now;
        }
        if moved {
            metrics.vhost_interrupts_count.increment();
        }
        moved
    }))
}

impl KernelWorker {
    fn tap(&self) -> Result<&Tap, NeedsReset> {
        match &*self.port {
            Port::Tap(tap) => Ok(tap),
            Port::Passt(_) => Err(NeedsReset),
        }
    }

    fn queues(&self) -> impl Iterator<Item = usize> {
        (0..).zip(self.served).filter_map(|(index, served)| served.then_some(index))
    }

    /// The driver can do nothing about it, but who runs the host can.
    fn broken(&self, error: &VhostError) -> NeedsReset {
        self.vhost.complain(error);
        NeedsReset
    }
}

impl Worker for KernelWorker {
    fn descriptors(&self) -> Vec<(RawFd, u16)> {
        vec![(self.failed.as_raw_fd(), 0)]
    }

    fn queue_notified(&mut self, _index: u16) -> Result<Turn, NeedsReset> {
        Ok(Turn::Done)
    }

    fn descriptor_ready(&mut self, _token: u16) -> Result<Turn, NeedsReset> {
        self.metrics.event_fails.increment();
        Err(NeedsReset)
    }

    fn suspend(&mut self) {
        self.queues().for_each(|index| self.vhost.detach(index));
    }

    fn resume(&mut self) -> Result<(), NeedsReset> {
        let tap = self.tap()?;
        for index in self.queues() {
            self.vhost.attach(index, tap).map_err(|error| self.broken(&error))?;
        }
        Ok(())
    }
}

impl Drop for KernelWorker {
    fn drop(&mut self) {
        self.suspend();
        self.vhost.release();
    }
}

#[cfg(test)]
#[path = "kernel_tests.rs"]
mod tests;
