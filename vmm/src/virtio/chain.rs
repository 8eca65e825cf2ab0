//! A descriptor chain, read once from guest memory and checked (virtio 1.2 section 2.7.5).
//!
//! The guest may rewrite its descriptors while the device looks at them. So each descriptor is copied once,
//! and what the device works with is the copy. Addresses are checked when they are used: [`Span`] refuses to
//! touch what is not memory.

use virtio_bindings::bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};
use vm_memory::{ByteValued, Bytes, GuestAddress};

use super::device::NeedsReset;
use super::span::Span;
use crate::memory::GuestMemory;

/// The longest chain that is served, indirect descriptors included: as many buffers as one system call takes.
pub const CHAIN_LENGTH_MAX: usize = 1024;

const NEXT: u16 = VRING_DESC_F_NEXT as u16;
const WRITE: u16 = VRING_DESC_F_WRITE as u16;
const INDIRECT: u16 = VRING_DESC_F_INDIRECT as u16;
const DESCRIPTOR_SIZE: u32 = 16;

/// A piece of guest memory that the driver named. Not checked to exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it starts.
    pub address: GuestAddress,
    /// How many bytes; never zero in a chain.
    pub length: u32,
}

/// One descriptor as it lies in memory (virtio 1.2 section 2.7.5), little-endian.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Descriptor {
    address: u64,
    length: u32,
    flags: u16,
    next: u16,
}

// SAFETY: four integers without padding: every pattern of 16 bytes is a valid value.
#[allow(unsafe_code, reason = "plain data that is copied from guest memory")]
unsafe impl ByteValued for Descriptor {}

/// A table of descriptors: the queue's own, or an indirect one.
#[derive(Debug, Clone, Copy)]
pub struct DescriptorTable {
    /// Where it starts.
    pub address: GuestAddress,
    /// How many descriptors it has.
    pub length: u16,
}

/// One request: buffers to read from, then buffers to write to. Reused from request to request so that
/// serving one allocates nothing.
#[derive(Debug, Default)]
pub struct Chain {
    head: u16,
    readable: Vec<Segment>,
    writable: Vec<Segment>,
}

impl Chain {
    /// The index of the chain's first descriptor, by which the driver knows it.
    pub fn head(&self) -> u16 {
        self.head
    }

    /// What the driver wrote for the device.
    pub fn readable(&self) -> Span<'_> {
        Span::new(&self.readable)
    }

    /// Where the driver wants the device to write.
    pub fn writable(&self) -> Span<'_> {
        Span::new(&self.writable)
    }

    /// Replaces this chain by the one that starts at descriptor `head` of `table`.
    ///
    /// `indirect` tells whether indirect descriptors were negotiated. Fails for a chain that is cyclic, too
    /// long, longer than 2^32 - 1 bytes, has a readable buffer after a writable one, leaves its table, or
    /// uses indirect tables in a way that the specification forbids.
    pub fn read(
        &mut self,
        memory: &GuestMemory,
        table: DescriptorTable,
        head: u16,
        indirect: bool,
    ) -> Result<(), NeedsReset> {
        self.head = head;
        self.readable.clear();
        self.writable.clear();
        let mut walk = Walk { table, next: head, left: table.length, bytes: 0 };
        let mut may_be_indirect = indirect;
        loop {
            let descriptor = walk.step(memory)?;
            if descriptor.flags & INDIRECT != 0 {
                if !may_be_indirect || descriptor.flags & NEXT != 0 {
                    return Err(NeedsReset);
                }
                may_be_indirect = false;
                walk.enter(descriptor)?;
                continue;
            }
            self.take(descriptor)?;
            if descriptor.flags & NEXT == 0 {
                return Ok(());
            }
            walk.next = descriptor.next;
        }
    }

    /// Adds a descriptor's buffer; one of no bytes is legal and left out.
    fn take(&mut self, descriptor: Descriptor) -> Result<(), NeedsReset> {
        let segment = Segment { address: GuestAddress(descriptor.address), length: descriptor.length };
        let writable = descriptor.flags & WRITE != 0;
        if !writable && !self.writable.is_empty() {
            return Err(NeedsReset);
        }
        if segment.length != 0 {
            if writable { &mut self.writable } else { &mut self.readable }.push(segment);
        }
        Ok(())
    }
}

/// A position in a chain.
struct Walk {
    table: DescriptorTable,
    next: u16,
    /// How many more descriptors the chain may have; a cycle runs out of them.
    left: u16,
    bytes: u32,
}

impl Walk {
    /// Reads the descriptor at the position, once.
    fn step(&mut self, memory: &GuestMemory) -> Result<Descriptor, NeedsReset> {
        self.left = self.left.checked_sub(1).ok_or(NeedsReset)?;
        if self.next >= self.table.length {
            return Err(NeedsReset);
        }
        let offset = u64::from(self.next) * u64::from(DESCRIPTOR_SIZE);
        let address = self.table.address.0.checked_add(offset).ok_or(NeedsReset)?;
        let raw: Descriptor = memory.read_obj(GuestAddress(address)).map_err(|_| NeedsReset)?;
        let descriptor = Descriptor {
            address: u64::from_le(raw.address),
            length: u32::from_le(raw.length),
            flags: u16::from_le(raw.flags),
            next: u16::from_le(raw.next),
        };
        if descriptor.flags & INDIRECT == 0 {
            self.bytes = self.bytes.checked_add(descriptor.length).ok_or(NeedsReset)?;
        }
        Ok(descriptor)
    }

    /// Goes on in the indirect table that `descriptor` names.
    fn enter(&mut self, descriptor: Descriptor) -> Result<(), NeedsReset> {
        let length = descriptor.length / DESCRIPTOR_SIZE;
        if !descriptor.length.is_multiple_of(DESCRIPTOR_SIZE) || length as usize > CHAIN_LENGTH_MAX {
            return Err(NeedsReset);
        }
        let length = u16::try_from(length).map_err(|_| NeedsReset)?;
        self.table = DescriptorTable { address: GuestAddress(descriptor.address), length };
        self.next = 0;
        self.left = length;
        Ok(())
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
