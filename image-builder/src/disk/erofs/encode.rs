//! The bytes of the superblock and of inodes, little endian.

use super::plan::{Layout, Plan, Planned};
use crate::tree::{Device, Inode, Kind};

/// Where the superblock stands in the first block.
pub(super) const SUPERBLOCK_OFFSET: u64 = 1024;

/// The size of the superblock.
pub(super) const SUPERBLOCK_SIZE: u64 = 128;

/// The size of an extended inode.
pub(super) const INODE_SIZE: u64 = 64;

/// An inode's number is its place in units of this many bytes.
pub(super) const SLOT: u64 = 32;

const MAGIC: u32 = 0xe0f5_e1e2;

/// Inodes carry the time of modification rather than that of the status change.
const FEATURE_COMPAT_MTIME: u32 = 2;

/// Some file is made of chunks.
const FEATURE_INCOMPAT_CHUNKED_FILE: u32 = 4;

/// log2 of the size of a block.
pub(super) const BLOCK_BITS: u8 = 12;

pub(super) fn superblock(plan: &Plan, uuid: [u8; 16], build_time: u64) -> [u8; SUPERBLOCK_SIZE as usize] {
    let mut bytes = [0; SUPERBLOCK_SIZE as usize];
    let mut put = |offset: usize, field: &[u8]| bytes[offset..offset + field.len()].copy_from_slice(field);
    let chunked = plan.inodes.iter().any(|planned| matches!(planned.layout, Layout::Chunks { .. }));
    // The plan keeps the number of blocks below 2^32 and puts the root first.
    let blocks = u32::try_from(plan.meta_blocks + plan.data_blocks).unwrap_or(u32::MAX);
    let root = plan.inodes.first().map_or(0, |root| root.place() / SLOT);
    put(0, &MAGIC.to_le_bytes());
    put(8, &FEATURE_COMPAT_MTIME.to_le_bytes());
    put(12, &[BLOCK_BITS]);
    put(14, &u16::try_from(root).unwrap_or(0).to_le_bytes());
    put(16, &(plan.inodes.len() as u64).to_le_bytes());
    put(24, &build_time.to_le_bytes());
    put(36, &blocks.to_le_bytes());
    // 40: the block at which inodes are counted from, 44: that of shared extended attributes, both 0.
    put(48, &uuid);
    put(80, &(if chunked { FEATURE_INCOMPAT_CHUNKED_FILE } else { 0 }).to_le_bytes());
    bytes
}

pub(super) fn inode(inode: &Inode, plan: &Plan, planned: &Planned) -> [u8; INODE_SIZE as usize] {
    let mut bytes = [0; INODE_SIZE as usize];
    let mut put = |offset: usize, field: &[u8]| bytes[offset..offset + field.len()].copy_from_slice(field);
    let attributes = &inode.attributes;
    // Bit 0: extended; bits 1 to 3: the layout of the data.
    let layout: u16 = match planned.layout {
        Layout::Plain => 0,
        Layout::Inline => 2,
        Layout::Chunks { .. } => 4,
    };
    // What the data's place is depends on the kind.
    let place = match (&inode.kind, planned.layout) {
        (Kind::CharacterDevice(device) | Kind::BlockDevice(device), _) => device_number(*device),
        (_, Layout::Chunks { bits }) => u32::from(bits - BLOCK_BITS),
        _ if planned.blocks() > 0 => plan.address(planned),
        _ => 0,
    };
    put(0, &(1 | layout << 1).to_le_bytes());
    put(2, &planned.xattr_count.to_le_bytes());
    put(4, &(kind_bits(&inode.kind) | attributes.mode).to_le_bytes());
    put(8, &planned.size.to_le_bytes());
    put(16, &place.to_le_bytes());
    put(20, &plan.number(planned.id).to_le_bytes());
    put(24, &attributes.uid.to_le_bytes());
    put(28, &attributes.gid.to_le_bytes());
    put(32, &attributes.mtime.seconds.to_le_bytes());
    put(40, &attributes.mtime.nanoseconds.to_le_bytes());
    put(44, &planned.links.to_le_bytes());
    bytes
}

/// The kind's bits in an inode's mode (`S_IFMT`).
fn kind_bits(kind: &Kind) -> u16 {
    match kind {
        Kind::Fifo => 0o010_000,
        Kind::CharacterDevice(_) => 0o020_000,
        Kind::Directory(_) => 0o040_000,
        Kind::BlockDevice(_) => 0o060_000,
        Kind::File(_) => 0o100_000,
        Kind::Symlink(_) => 0o120_000,
        Kind::Socket => 0o140_000,
    }
}

/// The kind's number in a directory entry.
pub(super) fn entry_kind(kind: &Kind) -> u8 {
    match kind {
        Kind::File(_) => 1,
        Kind::Directory(_) => 2,
        Kind::CharacterDevice(_) => 3,
        Kind::BlockDevice(_) => 4,
        Kind::Fifo => 5,
        Kind::Socket => 6,
        Kind::Symlink(_) => 7,
    }
}

/// The kernel's `new_encode_dev`.
fn device_number(device: Device) -> u32 {
    device.minor & 0xff | device.major << 8 | (device.minor & !0xff) << 12
}
