//! The content of directories: in each block an array of fixed-size entries, then the names. The kernel
//! looks names up by bisection, so all of them, `.` and `..` included, are in the order of their bytes.

use std::iter;

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

/// A directory's content, block by block: all of them whole but the last. A directory may have a million entries, so it
/// is not in memory as a whole.
pub(super) fn blocks<'t>(
    tree: &'t Tree,
    plan: &'t Plan,
    planned: &Planned,
) -> impl Iterator<Item = Vec<u8>> + use<'t> {
    let mut entries = sorted(tree, planned.id, planned.parent).peekable();
    iter::from_fn(move || {
        let (mut block, mut used) = (Vec::new(), 0);
        let mut fits = |name: &[u8]| {
            used += ENTRY + name.len();
            used <= BLOCK
        };
        while let Some(entry) = entries.next_if(|(name, _)| fits(name)) {
            block.push(entry);
        }
        let mut bytes = encode(tree, plan, &block);
        if entries.peek().is_some() {
            bytes.resize(BLOCK, 0);
        }
        (!block.is_empty()).then_some(bytes)
    })
}

fn encode(tree: &Tree, plan: &Plan, block: &[(&[u8], InodeId)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BLOCK);
    let mut name_offset = block.len() * ENTRY;
    for (name, id) in block {
        bytes.extend((plan.place(*id) / SLOT).to_le_bytes());
        bytes.extend(u16::try_from(name_offset).unwrap_or(u16::MAX).to_le_bytes());
        bytes.extend([entry_kind(&tree.inode(*id).kind), 0]);
        name_offset += name.len();
    }
    block.iter().for_each(|(name, _)| bytes.extend(*name));
    bytes
}

/// The entries with `.` and `..` where they belong.
fn sorted(tree: &Tree, id: InodeId, parent: InodeId) -> impl Iterator<Item = (&[u8], InodeId)> {
    let mut own = [(&b"."[..], id), (b"..", parent)].into_iter().peekable();
    let children = tree.entries(id).into_iter().flatten();
    let mut children = children.map(|(name, Entry { inode, .. })| (&**name, *inode)).peekable();
    iter::from_fn(move || {
        let next = children.peek().map(|(name, _)| *name);
        own.next_if(|(name, _)| next.is_none_or(|next| *name < next)).or_else(|| children.next())
    })
}
