//! Decides where everything goes, before the first byte is written.

use super::encode::{BLOCK_BITS, INODE_SIZE, SLOT, SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE};
use super::space::Space;
use super::{BLOCK, ErofsError, dirents, xattrs};
use crate::tree::{Body, InodeId, Kind, ROOT, Tree};

/// The address of a chunk that is a hole.
const HOLE: u32 = u32::MAX;

/// A file's map of chunks has at most this many entries of 4 bytes; larger files have larger chunks.
const MAX_CHUNKS: u64 = 1 << 18;

/// How the data of an inode is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// In whole blocks.
    Plain,
    /// In whole blocks, and what is left of it behind the inode.
    Inline,
    /// In chunks of 2 to the power of `bits` bytes, some of which are holes.
    Chunks { bits: u8 },
}

/// An inode and its place. A million of them are in memory at once.
#[derive(Debug)]
pub(super) struct Planned {
    pub id: InodeId,
    /// The directory that holds it; for a directory only.
    pub parent: InodeId,
    pub links: u32,
    /// Where the inode is, in slots.
    slot: u32,
    pub size: u64,
    /// Where its blocks are, counted from the first block of data.
    first_block: u32,
    blocks: u32,
    pub xattr_count: u16,
    pub layout: Layout,
}

impl Planned {
    /// Where the inode is, in bytes.
    pub(super) fn place(&self) -> u64 {
        u64::from(self.slot) * SLOT
    }

    /// How many whole blocks of data it has.
    pub(super) fn blocks(&self) -> u64 {
        self.blocks.into()
    }

    /// How many bytes of data stand behind the inode.
    pub(super) fn tail(&self) -> usize {
        match self.layout {
            Layout::Inline => usize::try_from(self.size % BLOCK).unwrap_or_default(),
            _ => 0,
        }
    }
}

/// The whole file system.
#[derive(Debug)]
pub(super) struct Plan {
    /// The root first, then the entries of each directory together.
    pub inodes: Vec<Planned>,
    /// The superblock and the inodes.
    pub meta_blocks: u64,
    /// Directories' and files' data.
    pub data_blocks: u64,
    /// From an inode's id to its place in `inodes`.
    index: Vec<u32>,
}

const ABSENT: u32 = u32::MAX;

impl Plan {
    /// Where the inode of that id is, in bytes.
    pub(super) fn place(&self, id: InodeId) -> u64 {
        let planned = self.index.get(id as usize).and_then(|index| self.inodes.get(*index as usize));
        planned.map_or(0, Planned::place)
    }

    /// The number of an inode: from 1 in the order of the plan.
    pub(super) fn number(&self, id: InodeId) -> u32 {
        self.index.get(id as usize).map_or(0, |index| index + 1)
    }

    /// The address of the first block of an inode's data. There are fewer than 2^32.
    pub(super) fn address(&self, planned: &Planned) -> u32 {
        u32::try_from(self.meta_blocks + u64::from(planned.first_block)).unwrap_or(HOLE)
    }

    fn add(&mut self, tree: &Tree, id: InodeId, parent: InodeId) {
        let known = &mut self.index[id as usize];
        if *known != ABSENT {
            self.inodes[*known as usize].links += 1;
            return;
        }
        // The number of inodes is limited far below 2^32.
        *known = u32::try_from(self.inodes.len()).unwrap_or(ABSENT);
        let inode = tree.inode(id);
        let size = match &inode.kind {
            Kind::File(body) => body.size,
            Kind::Symlink(target) => target.len() as u64,
            Kind::Directory(_) => dirents::size(tree, id),
            _ => 0,
        };
        let links = match tree.entries(id) {
            Some(entries) => {
                let directories = entries.values().filter(|entry| tree.entries(entry.inode).is_some());
                2 + u32::try_from(directories.count()).unwrap_or(u32::MAX - 2)
            }
            None => 1,
        };
        self.inodes.push(Planned {
            id,
            parent,
            links,
            slot: 0,
            size,
            first_block: 0,
            blocks: 0,
            xattr_count: xattrs::count(&inode.attributes.xattrs),
            layout: Layout::Plain,
        });
    }
}

/// Plans the file system of a tree; refuses one of more than `limit` bytes.
pub(super) fn plan(tree: &Tree, limit: u64) -> Result<Plan, ErofsError> {
    let mut plan =
        Plan { inodes: Vec::new(), meta_blocks: 0, data_blocks: 0, index: vec![ABSENT; tree.len()] };
    plan.add(tree, ROOT, ROOT);
    let mut directories = vec![ROOT];
    while let Some(directory) = directories.pop() {
        let entries = || tree.entries(directory).into_iter().flatten();
        entries().for_each(|(_, entry)| plan.add(tree, entry.inode, directory));
        let inner = entries().rev().map(|(_, entry)| entry.inode).filter(|id| tree.entries(*id).is_some());
        directories.extend(inner);
    }
    place(tree, &mut plan, limit)?;
    Ok(plan)
}

fn place(tree: &Tree, plan: &mut Plan, limit: u64) -> Result<(), ErofsError> {
    let limit = limit.min(u64::from(u32::MAX) * BLOCK);
    let mut space = Space::new(SUPERBLOCK_OFFSET + SUPERBLOCK_SIZE);
    for planned in &mut plan.inodes {
        let inode = tree.inode(planned.id);
        let mut head = INODE_SIZE + xattrs::size(&inode.attributes.xattrs) as u64;
        let tail = planned.size % BLOCK;
        let mut blocks = planned.size.div_ceil(BLOCK);
        if let Kind::File(body) = &inode.kind
            && body.extents().is_some()
        {
            let bits = chunk_bits(body.size);
            head += 4 * body.size.div_ceil(1 << bits);
            planned.layout = Layout::Chunks { bits };
            blocks = chunks(body, bits).map(|(_, blocks)| blocks).sum();
        } else if tail > 0 && head + tail <= BLOCK {
            planned.layout = Layout::Inline;
            blocks = planned.size / BLOCK;
            head += tail;
        }
        let (place, first_block) = (space.place(head), plan.data_blocks);
        plan.data_blocks += blocks;
        let fits = (space.blocks() + plan.data_blocks).saturating_mul(BLOCK) <= limit;
        // Where all of it fits, each of them does.
        let numbers = [place / SLOT, first_block, blocks].map(u32::try_from);
        let (true, [Ok(slot), Ok(first_block), Ok(blocks)]) = (fits, numbers) else {
            return Err(ErofsError::TooLarge(limit));
        };
        (planned.slot, planned.first_block, planned.blocks) = (slot, first_block, blocks);
    }
    plan.meta_blocks = space.blocks();
    Ok(())
}

/// log2 of the smallest chunk whose map is not too long.
fn chunk_bits(size: u64) -> u8 {
    let fits = |bits: &u8| size.div_ceil(1 << bits) <= MAX_CHUNKS;
    (BLOCK_BITS..43).find(fits).unwrap_or(43)
}

/// The chunks that hold data, and how many blocks each takes: the last one of a file may be shorter.
pub(super) fn chunks(body: &Body, bits: u8) -> impl Iterator<Item = (u64, u64)> {
    let mut next = 0;
    let size = body.size;
    body.extents().into_iter().flatten().flat_map(move |extent| {
        let (first, end) = ((extent.offset >> bits).max(next), extent.end().div_ceil(1 << bits));
        next = next.max(end);
        (first..end).map(move |chunk| (chunk, (size - (chunk << bits)).min(1 << bits).div_ceil(BLOCK)))
    })
}

/// The address of each chunk; the first one with data is at the block `first`.
pub(super) fn chunk_map(body: &Body, bits: u8, first: u64) -> Vec<u32> {
    let mut map = vec![HOLE; usize::try_from(body.size.div_ceil(1 << bits)).unwrap_or_default()];
    let mut address = first;
    for (chunk, blocks) in chunks(body, bits) {
        if let Some(entry) = usize::try_from(chunk).ok().and_then(|chunk| map.get_mut(chunk)) {
            *entry = u32::try_from(address).unwrap_or(HOLE);
        }
        address += blocks;
    }
    map
}
