//! A queue as the driver describes it, before it is used.

use virtio_queue::{Queue, QueueT};
use vm_memory::GuestAddress;

use crate::memory::GuestMemory;

/// Which address of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The descriptor table.
    Descriptors,
    /// The available ring, which the driver writes.
    Driver,
    /// The used ring, which the device writes.
    Device,
}

/// The registers of one queue. Plain data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSetup {
    size_max: u16,
    size: u16,
    ready: bool,
    descriptors: u64,
    driver: u64,
    device: u64,
}

impl QueueSetup {
    /// A queue that the driver has not touched.
    pub fn new(size_max: u16) -> QueueSetup {
        QueueSetup { size_max, size: size_max, ready: false, descriptors: 0, driver: 0, device: 0 }
    }

    /// The largest size.
    pub fn size_max(&self) -> u16 {
        self.size_max
    }

    /// Whether the driver finished the setup.
    pub fn ready(&self) -> bool {
        self.ready
    }

    /// Sets the size. What is no power of two or too large is ignored.
    pub fn set_size(&mut self, size: u32) {
        if let Ok(size) = u16::try_from(size)
            && !self.ready
            && size.is_power_of_two()
            && size <= self.size_max
        {
            self.size = size;
        }
    }

    /// Sets the low or the high half of an address.
    pub fn set_address(&mut self, part: Part, high: bool, value: u32) {
        if self.ready {
            return;
        }
        let address = match part {
            Part::Descriptors => &mut self.descriptors,
            Part::Driver => &mut self.driver,
            Part::Device => &mut self.device,
        };
        let value = u64::from(value);
        *address = if high { *address & 0xffff_ffff | value << 32 } else { *address & !0xffff_ffff | value };
    }

    /// Finishes or undoes the setup. A queue whose rings are misaligned or not in memory does not get ready.
    pub fn set_ready(&mut self, ready: bool, memory: &GuestMemory) {
        self.ready = ready;
        if ready && self.queue(false).is_none_or(|queue| !queue.is_valid(memory)) {
            self.ready = false;
        }
    }

    /// The queue to work with; not ready if the driver left it out. None if the setup makes no queue.
    pub fn queue(&self, event_index: bool) -> Option<Queue> {
        let mut queue = Queue::new(self.size_max).ok()?;
        if self.ready {
            queue.try_set_size(self.size).ok()?;
            queue.try_set_desc_table_address(GuestAddress(self.descriptors)).ok()?;
            queue.try_set_avail_ring_address(GuestAddress(self.driver)).ok()?;
            queue.try_set_used_ring_address(GuestAddress(self.device)).ok()?;
            queue.set_event_idx(event_index);
            queue.set_ready(true);
        }
        Some(queue)
    }
}
