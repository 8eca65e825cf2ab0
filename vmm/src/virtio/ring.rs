//! One queue at work: takes chains from the available ring, returns them through the used ring, and decides
//! who needs to be told (virtio 1.2 sections 2.7.6 to 2.7.10).
//!
//! `virtio_queue::Queue` holds the addresses and positions (plain data that a snapshot can keep). The walk
//! itself is here because a malformed ring must stop its device, used buffers are published in groups, and
//! `VIRTQ_AVAIL_F_NO_INTERRUPT` is honoured when the event index is not negotiated.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use virtio_bindings::bindings::virtio_ring::{VRING_AVAIL_F_NO_INTERRUPT, VRING_USED_F_NO_NOTIFY};
use virtio_queue::{Queue, QueueT};
use vm_memory::{AtomicAccess, Bytes, GuestAddress};

use super::chain::{Chain, DescriptorTable};
use super::device::{Activation, Interrupt, NeedsReset, Turn};
use super::features::INDIRECT_DESCRIPTORS;
use super::limiter::Limiter;
use crate::memory::GuestMemory;

/// How many chains a queue may have served before other queues get their turn.
const TURN_LENGTH: u32 = 512;
/// How many chains are returned to the driver together while more are waiting.
const GROUP_LENGTH: u16 = 16;

/// A queue that its worker owns.
pub struct Ring {
    queue: Queue,
    index: u16,
    memory: GuestMemory,
    interrupt: Arc<dyn Interrupt>,
    indirect: bool,
    /// The driver's position when last looked at; chains up to here may be taken.
    available: u16,
    /// Used elements that are written but not yet published.
    unpublished: u16,
    /// The used position when the driver was last considered for an interrupt.
    considered: u16,
    chain: Chain,
}

impl Ring {
    /// The rings of an activation, in the order of its queues.
    pub fn from_activation(activation: Activation<'_>) -> Vec<Ring> {
        let Activation { memory, queues, interrupt, features, .. } = activation;
        let ring = |(index, queue): (u16, Queue)| Ring {
            index,
            memory: memory.clone(),
            interrupt: Arc::clone(&interrupt),
            indirect: features & INDIRECT_DESCRIPTORS != 0,
            available: queue.next_avail(),
            unpublished: 0,
            considered: queue.next_used(),
            chain: Chain::default(),
            queue,
        };
        (0..).zip(queues).map(ring).collect()
    }

    /// How many descriptors the driver gave it.
    pub fn size(&self) -> u16 {
        self.queue.size()
    }

    /// The guest's memory.
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// The chain that `pop` took last.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Serves the waiting chains: `handle` gets each and returns how many bytes it wrote. Interrupts the
    /// driver if it wants that, and asks for its next notification when nothing is left.
    pub fn serve(
        &mut self,
        mut handle: impl FnMut(&GuestMemory, &Chain) -> Result<u32, NeedsReset>,
    ) -> Result<Turn, NeedsReset> {
        self.serve_admitted(|_| true, |memory, chain| handle(memory, chain).map(Some))
    }

    /// As [`Ring::serve`], but no faster than `limiter` allows; `bytes` tells how many bytes a chain counts.
    /// To be called again when the limiter's timer fires.
    pub fn serve_within(
        &mut self,
        limiter: &mut Limiter,
        bytes: impl Fn(&Chain) -> u64,
        mut handle: impl FnMut(&GuestMemory, &Chain) -> Result<u32, NeedsReset>,
    ) -> Result<Turn, NeedsReset> {
        if limiter.waiting() {
            return Ok(Turn::Done);
        }
        self.serve_admitted(
            |chain| limiter.pass(bytes(chain)),
            |memory, chain| handle(memory, chain).map(Some),
        )
    }

    /// Serves until a chain is not admitted: that one, and those behind it, stay with the driver. A chain for
    /// which `handle` returns None is the caller's, who pushes it when it is done.
    pub fn serve_admitted(
        &mut self,
        mut admit: impl FnMut(&Chain) -> bool,
        mut handle: impl FnMut(&GuestMemory, &Chain) -> Result<Option<u32>, NeedsReset>,
    ) -> Result<Turn, NeedsReset> {
        if !self.queue.ready() {
            return Ok(Turn::Done);
        }
        self.hush()?;
        let mut left = TURN_LENGTH;
        loop {
            while self.pop()? {
                if !admit(&self.chain) {
                    self.unpop();
                    self.signal()?;
                    return Ok(Turn::Done);
                }
                if let Some(written) = handle(&self.memory, &self.chain)? {
                    self.push(self.chain.head(), written)?;
                }
                if self.unpublished >= GROUP_LENGTH {
                    self.signal()?;
                }
                left -= 1;
                if left == 0 {
                    self.signal()?;
                    return Ok(Turn::More);
                }
            }
            self.signal()?;
            if !self.listen()? {
                return Ok(Turn::Done);
            }
        }
    }

    /// Takes the next chain, to be read with [`Ring::chain`]; false when none waits.
    pub fn pop(&mut self) -> Result<bool, NeedsReset> {
        if !self.queue.ready() {
            return Ok(false);
        }
        let next = self.queue.next_avail();
        if next == self.available {
            self.available = self.driver_position(Ordering::Acquire)?;
            if next == self.available {
                return Ok(false);
            }
        }
        let slot = u64::from(next % self.queue.size());
        let head: u16 = u16::from_le(self.load(self.queue.avail_ring(), 4 + 2 * slot, Ordering::Relaxed)?);
        let table =
            DescriptorTable { address: GuestAddress(self.queue.desc_table()), length: self.queue.size() };
        self.chain.read(&self.memory, table, head, self.indirect)?;
        self.queue.set_next_avail(next.wrapping_add(1));
        Ok(true)
    }

    /// Undoes the last `pop`: the same chain comes again.
    pub fn unpop(&mut self) {
        self.queue.set_next_avail(self.queue.next_avail().wrapping_sub(1));
    }

    /// Writes the used element of the chain `head`, into which `written` bytes went. The driver sees it with
    /// the next [`Ring::publish`] or [`Ring::signal`].
    pub fn push(&mut self, head: u16, written: u32) -> Result<(), NeedsReset> {
        let slot = self.queue.next_used().wrapping_add(self.unpublished) % self.queue.size();
        let address = at(self.queue.used_ring(), 4 + 8 * u64::from(slot))?;
        let element = u64::from(head) | u64::from(written) << 32;
        self.memory.write_obj(element.to_le(), address).map_err(|_| NeedsReset)?;
        self.unpublished = self.unpublished.wrapping_add(1);
        Ok(())
    }

    /// Shows the driver what was pushed.
    pub fn publish(&mut self) -> Result<(), NeedsReset> {
        if self.unpublished != 0 {
            let position = self.queue.next_used().wrapping_add(self.unpublished);
            self.store(2, position, Ordering::Release)?;
            self.queue.set_next_used(position);
            self.unpublished = 0;
        }
        Ok(())
    }

    /// Publishes, and interrupts the driver if it wants to know.
    pub fn signal(&mut self) -> Result<(), NeedsReset> {
        self.publish()?;
        if self.needs_interrupt()? {
            self.interrupt.queue(self.index);
        }
        Ok(())
    }

    /// Asks the driver not to notify while the queue is being served anyway.
    pub fn hush(&mut self) -> Result<(), NeedsReset> {
        // With the event index a notification is asked for explicitly and comes once.
        if self.queue.ready() && !self.queue.event_idx_enabled() {
            self.store(0, VRING_USED_F_NO_NOTIFY as u16, Ordering::Relaxed)?;
        }
        Ok(())
    }

    /// Asks the driver to notify of the next chain. True when one came meanwhile: serve it, no notification
    /// will come for it.
    pub fn listen(&mut self) -> Result<bool, NeedsReset> {
        if !self.queue.ready() {
            return Ok(false);
        }
        let next = self.queue.next_avail();
        if self.queue.event_idx_enabled() {
            self.store(4 + 8 * u64::from(self.queue.size()), next, Ordering::Relaxed)?;
        } else {
            self.store(0, 0, Ordering::Relaxed)?;
        }
        // The request must be visible before the position is read, or both sides wait for each other.
        fence(Ordering::SeqCst);
        Ok(self.driver_position(Ordering::Relaxed)? != next)
    }

    /// Whether the driver wants an interrupt for what was published since this was last asked.
    fn needs_interrupt(&mut self) -> Result<bool, NeedsReset> {
        let now = self.queue.next_used();
        let before = std::mem::replace(&mut self.considered, now);
        if now == before {
            return Ok(false);
        }
        // The used position must be visible before the driver's wish is read.
        fence(Ordering::SeqCst);
        let ring = self.queue.avail_ring();
        if self.queue.event_idx_enabled() {
            let offset = 4 + 2 * u64::from(self.queue.size());
            let wished: u16 = u16::from_le(self.load(ring, offset, Ordering::Relaxed)?);
            // Virtio 1.2 section 2.7.7.2: it wants one when the position passes `used_event`.
            Ok(now.wrapping_sub(wished).wrapping_sub(1) < now.wrapping_sub(before))
        } else {
            let flags: u16 = u16::from_le(self.load(ring, 0, Ordering::Relaxed)?);
            Ok(flags & VRING_AVAIL_F_NO_INTERRUPT as u16 == 0)
        }
    }

    /// The driver's position in the available ring; never more than the queue's size ahead of ours.
    fn driver_position(&self, order: Ordering) -> Result<u16, NeedsReset> {
        let position: u16 = u16::from_le(self.load(self.queue.avail_ring(), 2, order)?);
        let ahead = position.wrapping_sub(self.queue.next_avail());
        if ahead > self.queue.size() { Err(NeedsReset) } else { Ok(position) }
    }

    fn load<T: AtomicAccess>(&self, ring: u64, offset: u64, order: Ordering) -> Result<T, NeedsReset> {
        self.memory.load(at(ring, offset)?, order).map_err(|_| NeedsReset)
    }

    fn store(&self, offset: u64, value: u16, order: Ordering) -> Result<(), NeedsReset> {
        let address = at(self.queue.used_ring(), offset)?;
        self.memory.store(value.to_le(), address, order).map_err(|_| NeedsReset)
    }
}

/// The address `offset` bytes into a ring.
fn at(ring: u64, offset: u64) -> Result<GuestAddress, NeedsReset> {
    ring.checked_add(offset).map(GuestAddress).ok_or(NeedsReset)
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
