//! What a virtio device is ([`VirtioDevice`]) and what it does when woken ([`Worker`]).
//!
//! A device is inert: type, features, queue sizes, configuration space. When the driver sets `DRIVER_OK` the
//! transport moves the queues into a [`Worker`], or several that share them, which an event loop
//! (`virtio::worker_loop`) wakes when a queue is notified or a descriptor of the worker's own is ready. Dropping
//! the workers is the reset: the transport then asks the same device to `activate` again. A device never sees a
//! register or an interrupt line: it signals through [`Interrupt`].
//!
//! All devices share one loop, but for those that ask for threads of their own: because they may have to wait
//! for the host where no descriptor tells of the end, or because their queues shall be served at once.

use std::ops::Range;
use std::os::fd::RawFd;
use std::sync::Arc;

use virtio_queue::Queue;
use vmm_sys_util::eventfd::EventFd;

use crate::memory::GuestMemory;

/// The guest broke the protocol, or the device cannot go on: it asks the driver for a reset
/// (`DEVICE_NEEDS_RESET`, virtio 1.2 section 2.1). The machine lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeedsReset;

/// What a worker says when it hands the thread back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nothing is left to do until the next wake.
    Done,
    /// It stopped so that others get their turn; the loop calls it again soon.
    More,
}

/// How a worker tells the driver that something happened.
pub trait Interrupt: Send + Sync {
    /// Buffers of queue `index` were used.
    fn queue(&self, index: u16);
    /// The configuration space changed.
    fn config(&self);
}

/// What the transport hands to a device when its driver is ready.
pub struct Activation<'a> {
    /// The guest's memory.
    pub memory: GuestMemory,
    /// The queues, in their order; one that the driver left disabled is not ready (`QueueT::ready`).
    pub queues: Vec<Queue>,
    /// The way back to the driver.
    pub interrupt: Arc<dyn Interrupt>,
    /// The features that both sides agreed on (bit N is feature N).
    pub features: u64,
    /// For a kernel that serves queues in a worker's place: what the driver's notifications signal, by queue.
    pub doorbells: &'a [EventFd],
    /// For the same: what interrupts the driver when it is signalled. See [`Share::used`].
    pub line: &'a EventFd,
}

/// A device as it stands before a driver talks to it. Plain data and host resources.
pub trait VirtioDevice: Send {
    /// Virtio 1.2 section 5: 1 network, 2 block, 4 entropy, 19 socket, 27 persistent
    /// memory.
    fn device_type(&self) -> u32;
    /// A short word for messages and metrics, as the configuration calls it.
    fn id(&self) -> &str;
    /// The features offered; `VIRTIO_F_VERSION_1` is always among them.
    fn features(&self) -> u64;
    /// The largest size of each queue; a power of two up to 32768.
    fn queue_sizes(&self) -> &[u16];
    /// Reads the configuration space. Bytes beyond its end read as zero: `data` comes zeroed.
    fn read_config(&self, offset: u64, data: &mut [u8]);
    /// Writes the configuration space; most devices have nothing there that a driver may write.
    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}
    /// A number that changes with the configuration space, when that changes by itself (virtio 1.2 section
    /// 2.5.2); [`Interrupt::config`] tells the driver to look.
    fn config_generation(&self) -> u32 {
        0
    }
    /// How many threads of its own its workers get, one after the other. With none, which is the rule, they
    /// run on the one that devices share. Must not change.
    fn threads(&self) -> usize {
        0
    }
    /// Builds the workers. Called on a vCPU's thread; must be quick. Called again after a reset.
    fn activate(&mut self, activation: Activation<'_>) -> Result<Vec<Share>, NeedsReset>;
}

/// A worker and the queues that wake it.
pub struct Share {
    /// Who serves them.
    pub worker: Box<dyn Worker>,
    /// Which of the device's queues; the worker counts its own from 0.
    pub queues: Range<usize>,
    /// Where the host's kernel serves queues and interrupts the driver by itself, who answers when the driver asks
    /// why it was interrupted.
    pub used: Option<Used>,
}

/// Whether buffers were used since this was last asked.
pub type Used = Box<dyn FnMut() -> bool + Send>;

impl Share {
    /// All queues are one worker's.
    pub fn whole(worker: impl Worker + 'static) -> Vec<Share> {
        vec![Share { worker: Box::new(worker), queues: 0..usize::MAX, used: None }]
    }
}

/// The moving half of a device; lives on an event loop's thread.
pub trait Worker: Send {
    /// Descriptors of its own to wait on besides the queues' (readable, level-triggered), each with a token
    /// that `descriptor_ready` gets. Asked for again after each wake, so that a worker can stop listening.
    fn descriptors(&self) -> Vec<(RawFd, u16)> {
        Vec::new()
    }
    /// The driver notified queue `index` (below the number of its queues; guests may notify any of them). May
    /// come without cause.
    fn queue_notified(&mut self, index: u16) -> Result<Turn, NeedsReset>;
    /// The descriptor with `token` is ready.
    fn descriptor_ready(&mut self, _token: u16) -> Result<Turn, NeedsReset> {
        Ok(Turn::Done)
    }
    /// The machine is paused: there are no turns until `resume`. For those who have others work for them.
    fn suspend(&mut self) {}
    /// The machine goes on.
    fn resume(&mut self) -> Result<(), NeedsReset> {
        Ok(())
    }
}

/// Fills `data` with the bytes of a configuration space `space` from `offset`; zero beyond its end.
pub fn read_config_space(space: &[u8], offset: u64, data: &mut [u8]) {
    let rest = usize::try_from(offset).ok().and_then(|start| space.get(start..)).unwrap_or_default();
    for (to, from) in data.iter_mut().zip(rest) {
        *to = *from;
    }
}
