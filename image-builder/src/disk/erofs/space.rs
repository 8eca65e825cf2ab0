//! Finds places for inodes in blocks: the fullest block that still has room, so that little is wasted.

use std::collections::BTreeMap;

use super::BLOCK;
use super::encode::SLOT;

/// The blocks that hold inodes.
#[derive(Debug)]
pub(super) struct Space {
    blocks: u64,
    /// Blocks by the number of bytes that are free at their end.
    free: BTreeMap<u64, Vec<u64>>,
}

impl Space {
    /// A first block of which the first `used` bytes are taken.
    pub(super) fn new(used: u64) -> Self {
        Self { blocks: 1, free: BTreeMap::from([(BLOCK - used, vec![0])]) }
    }

    /// How many blocks there are.
    pub(super) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// A place of `size` bytes, at a multiple of a slot. It crosses blocks only where it is larger than one.
    pub(super) fn place(&mut self, size: u64) -> u64 {
        let size = size.next_multiple_of(SLOT);
        let found = self.free.range_mut(size..).find(|(_, blocks)| !blocks.is_empty());
        let (block, room) = match found {
            Some((free, blocks)) => (blocks.pop().unwrap_or_default(), *free),
            None => {
                let block = self.blocks;
                let room = size.next_multiple_of(BLOCK);
                self.blocks += room / BLOCK;
                (block, room)
            }
        };
        let place = if room > BLOCK { block * BLOCK } else { (block + 1) * BLOCK - room };
        if room > size {
            self.free.entry(room - size).or_default().push((place + size) / BLOCK);
        }
        self.free.retain(|_, blocks| !blocks.is_empty());
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_do_not_overlap_nor_cross_blocks() {
        let mut space = Space::new(1152);
        let sizes = [64, 4096, 3000, 1000, 64, 9000, 2900, 40, 3100, 64];
        let mut places: Vec<_> = sizes.iter().map(|size| (space.place(*size), *size)).collect();
        assert_eq!(places[0].0, 1152);
        places.sort_unstable();
        for pair in places.windows(2) {
            assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{places:?}");
        }
        for (place, size) in places {
            assert_eq!(place % SLOT, 0);
            assert!(size > BLOCK || place / BLOCK == (place + size - 1) / BLOCK);
            assert!(place + size <= space.blocks() * BLOCK);
        }
        assert!(space.blocks() <= 7);
    }
}
