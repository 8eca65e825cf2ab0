//! A run of bytes scattered over guest memory: the readable or writable part of a chain, or a part of that.
//!
//! Drivers may cut a request into buffers as they like (virtio 1.2 section 2.7.4), so devices never look at
//! buffers: they split spans.

use vm_memory::{Bytes, GuestAddress};

use super::chain::Segment;
use crate::memory::GuestMemory;

/// The driver named an address where there is no memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoMemory;

/// Bytes of a chain, in order. Costs nothing to copy or split.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    segments: &'a [Segment],
    /// Bytes of the first segments that are not part of the span.
    skip: u64,
    length: u64,
}

impl<'a> Span<'a> {
    /// All bytes of `segments`.
    pub fn new(segments: &'a [Segment]) -> Span<'a> {
        let length = segments.iter().map(|segment| u64::from(segment.length)).sum();
        Span { segments, skip: 0, length }
    }

    /// How many bytes.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The first `at` bytes (or all there are), and the rest.
    pub fn split_at(self, at: u64) -> (Span<'a>, Span<'a>) {
        let at = at.min(self.length);
        let front = Span { length: at, ..self };
        let mut rest = Span { skip: self.skip + at, length: self.length - at, ..self };
        while let Some((first, others)) = rest.segments.split_first() {
            if rest.skip < u64::from(first.length) {
                break;
            }
            rest.skip -= u64::from(first.length);
            rest.segments = others;
        }
        (front, rest)
    }

    /// The pieces of memory that make up the span, in order, none of them empty.
    pub fn pieces(self) -> impl Iterator<Item = Segment> + 'a {
        let mut skip = self.skip;
        let mut left = self.length;
        self.segments.iter().map_while(move |segment| {
            // `split_at` keeps `skip` within the first segment; an address that wraps is no memory and is
            // refused when it is used.
            let address = segment.address.0.wrapping_add(skip);
            let length = u64::from(segment.length).saturating_sub(skip).min(left);
            skip = 0;
            left -= length;
            let length = u32::try_from(length).ok()?;
            (length != 0).then_some(Segment { address: GuestAddress(address), length })
        })
    }

    /// Copies the first bytes out of guest memory; `into` must not be longer than the span.
    pub fn read(self, memory: &GuestMemory, into: &mut [u8]) -> Result<(), NoMemory> {
        let mut rest = into;
        for piece in self.pieces() {
            let count = rest.len().min(piece.length as usize);
            let (now, later) = rest.split_at_mut(count);
            memory.read_slice(now, piece.address).map_err(|_| NoMemory)?;
            rest = later;
            if rest.is_empty() {
                return Ok(());
            }
        }
        if rest.is_empty() { Ok(()) } else { Err(NoMemory) }
    }

    /// Copies `from` over the first bytes; `from` must not be longer than the span.
    pub fn write(self, memory: &GuestMemory, from: &[u8]) -> Result<(), NoMemory> {
        let mut rest = from;
        for piece in self.pieces() {
            let (now, later) = rest.split_at(rest.len().min(piece.length as usize));
            memory.write_slice(now, piece.address).map_err(|_| NoMemory)?;
            rest = later;
            if rest.is_empty() {
                return Ok(());
            }
        }
        if rest.is_empty() { Ok(()) } else { Err(NoMemory) }
    }
}

#[cfg(test)]
#[path = "span_tests.rs"]
mod tests;
