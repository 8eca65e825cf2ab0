//! Runs of guest memory that may go back to the host.

use std::io;
use std::ops::Range;

use crate::memory::{self, GuestMemory};
use crate::virtio::chain::Segment;

/// Ranges of guest addresses, in any order and with any overlap, that are given back together: each byte
/// once, neighbours in one system call.
#[derive(Debug, Default)]
pub struct Pages {
    ranges: Vec<Range<u64>>,
}

impl Pages {
    /// Adds the page with number `number`, of 4 KiB (virtio 1.2 section 5.5.6).
    pub fn add_page(&mut self, number: u32) {
        let start = u64::from(number) * memory::PAGE;
        self.add(start..start + memory::PAGE);
    }

    /// Adds a buffer.
    pub fn add_segment(&mut self, segment: Segment) {
        let start = segment.address.0;
        self.add(start..start.saturating_add(segment.length.into()));
    }

    fn add(&mut self, range: Range<u64>) {
        match self.ranges.last_mut() {
            // Guests name neighbours one after the other.
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.ranges.push(range),
        }
    }

    /// Gives the ranges back to the host and forgets them. `told` hears of each what became of it: how many
    /// bytes are free now.
    pub fn discard(&mut self, memory: &GuestMemory, mut told: impl FnMut(io::Result<u64>)) {
        for range in self.merged() {
            told(memory::discard(memory, range));
        }
        self.ranges.clear();
    }

    /// The ranges in order and without overlap.
    fn merged(&mut self) -> impl Iterator<Item = Range<u64>> {
        self.ranges.sort_unstable_by_key(|range| range.start);
        let mut rest = self.ranges.iter().cloned().peekable();
        std::iter::from_fn(move || {
            let mut range = rest.next()?;
            while let Some(next) = rest.next_if(|next| next.start <= range.end) {
                range.end = range.end.max(next.end);
            }
            Some(range)
        })
    }
}

#[cfg(test)]
mod tests {
    use vm_memory::GuestAddress;

    use super::*;

    #[test]
    fn pages_in_any_order_become_few_ranges() {
        let mut pages = Pages::default();
        [9, 3, 4, 5, 4, 8, 0xffff_ffff, 5].into_iter().for_each(|number| pages.add_page(number));
        let merged: Vec<_> = pages.merged().collect();
        assert_eq!(merged, [0x3000..0x6000, 0x8000..0xa000, 0xfff_ffff_f000..0x1000_0000_0000]);
    }

    #[test]
    fn buffers_may_lie_anywhere() {
        let mut pages = Pages::default();
        for (address, length) in [(u64::MAX, u32::MAX), (0, 10), (5, 3), (8, 4), (100, 0)] {
            pages.add_segment(Segment { address: GuestAddress(address), length });
        }
        let merged: Vec<_> = pages.merged().collect();
        assert_eq!(merged, [0..12, 100..100, u64::MAX..u64::MAX]);
    }
}
