//! Writes EROFS file systems (`Documentation/filesystems/erofs.rst` and `fs/erofs/erofs_fs.h` in the
//! kernel's sources): uncompressed, blocks of 4 KiB, extended inodes, ends of files in line with their
//! inodes, holes by chunks. Readable by Linux 5.15 and later.
//!
//! The superblock and all inodes come first, then the blocks of directories and files in the order of the
//! tree, so that one pass writes everything. Equal trees give equal bytes.

mod dirents;
mod encode;
mod plan;
mod space;
mod xattrs;

use std::io::{self, Write};

use thiserror::Error;

use super::Sink;
use crate::digest::Sha256;
use crate::tree::{Bodies, Kind, Tree};
use plan::{Layout, Plan, Planned};

/// The size of a block in bytes.
const BLOCK: u64 = 4096;

/// Why a file system cannot be written.
#[derive(Debug, Error)]
pub enum ErofsError {
    /// The file system would be too large.
    #[error("The root file system would be larger than {0} bytes")]
    TooLarge(u64),
    /// The file cannot be written, or the spill file cannot be read.
    #[error("Cannot write the root file system")]
    Write(#[from] io::Error),
}

/// Writes `tree` to `sink`, which is at the start of a block. `build_time` is in seconds since 1970. The
/// file system is refused where it would be larger than `limit` bytes; it is a whole number of blocks.
pub fn write(
    tree: &Tree,
    bodies: &Bodies,
    build_time: u64,
    limit: u64,
    sink: &mut Sink<'_>,
) -> Result<(), ErofsError> {
    let plan = plan::plan(tree, limit)?;
    let superblock = encode::superblock(&plan, identity(tree, &plan), build_time);
    let start = sink.position();
    sink.expect((plan.meta_blocks + plan.data_blocks) * BLOCK);
    sink.zeros_to(start + encode::SUPERBLOCK_OFFSET)?;
    sink.write_all(&superblock)?;

    let mut by_place: Vec<u32> = (0..).take(plan.inodes.len()).collect();
    by_place.sort_unstable_by_key(|index| plan.inodes[*index as usize].place());
    let mut tail = vec![0; 4096];
    for planned in by_place.into_iter().map(|index| &plan.inodes[index as usize]) {
        sink.zeros_to(start + planned.place())?;
        sink.write_all(&head(tree, &plan, planned))?;
        let tail = &mut tail[..planned.tail()];
        read_tail(tree, bodies, &plan, planned, tail)?;
        sink.write_all(tail)?;
    }
    sink.zeros_to(start + plan.meta_blocks * BLOCK)?;
    for planned in &plan.inodes {
        write_blocks(tree, bodies, &plan, planned, sink)?;
    }
    Ok(())
}

/// 16 bytes that differ where the content differs.
fn identity(tree: &Tree, plan: &Plan) -> [u8; 16] {
    let mut digest = Sha256::new();
    for planned in &plan.inodes {
        digest.update(head(tree, plan, planned));
        match &tree.inode(planned.id).kind {
            Kind::File(body) => digest.update(body.crc.to_le_bytes()),
            Kind::Symlink(target) => digest.update(target),
            Kind::Directory(_) => {
                dirents::blocks(tree, plan, planned).for_each(|block| digest.update(block));
            }
            _ => {}
        }
    }
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&digest.finalize()[..16]);
    // Version 8 (of the maker's own making) and variant of RFC 9562.
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}

/// What stands before the data in line: the inode, its extended attributes, its map of chunks.
fn head(tree: &Tree, plan: &Plan, planned: &Planned) -> Vec<u8> {
    let inode = tree.inode(planned.id);
    let mut bytes = encode::inode(inode, plan, planned).to_vec();
    bytes.extend(xattrs::encode(&inode.attributes.xattrs));
    if let (Layout::Chunks { bits }, Kind::File(body)) = (planned.layout, &inode.kind) {
        for address in plan::chunk_map(body, bits, plan.address(planned).into()) {
            bytes.extend(address.to_le_bytes());
        }
    }
    bytes
}

/// Reads the end of what an inode contains, that which stands behind the inode.
fn read_tail(
    tree: &Tree,
    bodies: &Bodies,
    plan: &Plan,
    planned: &Planned,
    tail: &mut [u8],
) -> io::Result<()> {
    if tail.is_empty() {
        return Ok(());
    }
    let last = match &tree.inode(planned.id).kind {
        Kind::File(body) => return bodies.read(body, planned.size - tail.len() as u64, tail),
        Kind::Symlink(target) => target.to_vec(),
        Kind::Directory(_) => dirents::blocks(tree, plan, planned).last().unwrap_or_default(),
        _ => Vec::new(),
    };
    let rest = &last[last.len().saturating_sub(tail.len())..];
    tail.fill(0);
    tail[..rest.len()].copy_from_slice(rest);
    Ok(())
}

fn write_blocks(
    tree: &Tree,
    bodies: &Bodies,
    plan: &Plan,
    planned: &Planned,
    sink: &mut Sink<'_>,
) -> io::Result<()> {
    if planned.blocks() == 0 {
        return Ok(());
    }
    let inode = tree.inode(planned.id);
    if let (Layout::Chunks { bits }, Kind::File(body)) = (planned.layout, &inode.kind) {
        for (chunk, blocks) in plan::chunks(body, bits) {
            bodies.copy(body, chunk << bits, blocks * BLOCK, sink)?;
        }
        return Ok(());
    }
    match &inode.kind {
        Kind::File(body) => bodies.copy(body, 0, planned.blocks() * BLOCK, sink),
        Kind::Directory(_) => {
            let whole = usize::try_from(planned.blocks()).unwrap_or(usize::MAX);
            dirents::blocks(tree, plan, planned).take(whole).try_for_each(|block| padded(&block, sink))
        }
        Kind::Symlink(target) => padded(target, sink),
        _ => Ok(()),
    }
}

/// Writes what a block begins with, and zeros to its end.
fn padded(bytes: &[u8], sink: &mut Sink<'_>) -> io::Result<()> {
    let end = sink.position() + BLOCK;
    sink.write_all(bytes)?;
    sink.zeros_to(end)
}

#[cfg(test)]
#[path = "erofs_tests.rs"]
mod tests;
