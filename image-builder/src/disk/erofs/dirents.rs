//! The content of directories: in each block an array of fixed-size entries, then the names. The kernel
//! looks names up by bisection, so all of them, `.` and `..` included, are in the order of their bytes.

use super::encode::{SLOT, entry_kind};
use super::plan::{Plan, Planned};
use crate::tree::{Entry, InodeId, Tree};

const BLOCK: usize = super::BLOCK as usize;

/// The size of an entry without its name.
const ENTRY: usize = 12;

/// The size of a directory's content in bytes.
pub(super) fn size(tree: &Tree, id: InodeId) -> u64 {
    let (mut blocks, mut used) = (0, 0);
    for (name, _) in sorted(tree, id, id) {
        let length = ENTRY + name.len();
        if used + length > BLOCK {
            blocks += 1;
            used = 0;
        }
        used += length;
    }
    (blocks * BLOCK + used) as u64
}

/// A directory's content.
pub(super) fn encode(tree: &Tree, plan: &Plan, planned: &Planned) -> Vec<u8> {
    let entries = sorted(tree, planned.id, planned.parent);
    let mut bytes = Vec::new();
    let mut rest = &entries[..];
    while !rest.is_empty() {
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        let mut used = 0;
        let fits = rest.iter().take_while(|(name, _)| {
            used += ENTRY + name.len();
            used <= BLOCK
        });
        let (block, later) = rest.split_at(fits.count());
        let mut name_offset = block.len() * ENTRY;
        for (name, id) in block {
            bytes.extend((plan.place(*id) / SLOT).to_le_bytes());
            bytes.extend(u16::try_from(name_offset).unwrap_or(u16::MAX).to_le_bytes());
            bytes.extend([entry_kind(&tree.inode(*id).kind), 0]);
            name_offset += name.len();
        }
        block.iter().for_each(|(name, _)| bytes.extend(*name));
        rest = later;
    }
    bytes
}

fn sorted(tree: &Tree, id: InodeId, parent: InodeId) -> Vec<(&[u8], InodeId)> {
    let own = [(&b"."[..], id), (b"..", parent)];
    let children = tree.entries(id).into_iter().flatten();
    let children = children.map(|(name, Entry { inode, .. })| (&**name, *inode));
    let mut entries: Vec<_> = own.into_iter().chain(children).collect();
    entries.sort_unstable_by_key(|(name, _)| *name);
    entries
}
