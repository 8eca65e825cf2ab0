//! Reads the root of a built image: the EROFS that `disk::erofs` writes, from the file itself and without
//! mounting it. Every number in it may be a lie: nothing outside the file system is read, no directory twice.
//!
//! Source: `Documentation/filesystems/erofs.rst` and `fs/erofs/erofs_fs.h` of Linux.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use thiserror::Error;

use crate::limits::Limits;
use crate::tree::{Time, Xattrs};

const BLOCK: u64 = 4096;
const SUPERBLOCK: u64 = 1024;
/// How a squashfs begins (Linux, `fs/squashfs/squashfs_fs.h`).
const SQUASHFS_MAGIC: &[u8] = b"hsqs";
const MAGIC: u64 = 0xe0f5_e1e2;
/// Of an extended inode; no other is written.
const INODE: u64 = 64;
/// Inodes are numbered by their place in units of this many bytes.
const SLOT: u64 = 32;
/// Of the entries of a directory, without their names.
const ENTRY: usize = 12;
/// In a map of chunks, a chunk that is a hole.
const HOLE: u64 = 0xffff_ffff;
/// The largest directory that is read, in bytes.
const MAX_DIRECTORY: u64 = 512 << 20;

/// The bits of a mode that say what an inode is (`inode(7)`).
pub const KIND: u16 = 0o170_000;
/// A directory.
pub const DIRECTORY: u16 = 0o040_000;
/// A regular file.
pub const REGULAR: u16 = 0o100_000;
/// A symbolic link.
pub const SYMLINK: u16 = 0o120_000;

/// Why a root cannot be read.
#[derive(Debug, Error)]
pub enum RootReadError {
    /// The file.
    #[error("Cannot read the root file system")]
    Read(#[from] io::Error),
    /// Not what the builder writes.
    #[error("The root file system is damaged, or not made by this builder: {0}")]
    Damaged(&'static str),
    /// A file system of another kind.
    #[error("The root file system is a squashfs, whose files are listed by unsquashfs and not here")]
    Squashfs,
    /// More than is taken.
    #[error("The root file system has more than {0} entries")]
    TooMany(u64),
}

use RootReadError::Damaged;

/// An inode of the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootInode {
    /// Which one it is: names of the same inode are hard links.
    pub id: u64,
    /// Kind and permissions, as `stat(2)` tells them.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// In bytes.
    pub size: u64,
    /// The last change of the content.
    pub mtime: Time,
    /// How many names it has.
    pub links: u32,
    /// The kernel's number of a device: minor bits 0 to 7 and 20 to 31, major bits 8 to 19.
    pub device: u32,
    /// Extended attributes by full name.
    pub xattrs: Xattrs,
    layout: u16,
    place: u64,
    /// Where what stands in line behind the inode starts.
    inline: u64,
}

impl RootInode {
    /// Whether it is of a kind, one of the constants here.
    pub fn is(&self, kind: u16) -> bool {
        self.mode & KIND == kind
    }
}

/// A root, open for reading.
#[derive(Debug)]
pub struct RootReader {
    file: File,
    offset: u64,
    size: u64,
    root: u64,
}

impl RootReader {
    /// Opens the file system of `size` bytes at `offset` of a file.
    pub fn open(file: File, offset: u64, size: u64) -> Result<Self, RootReadError> {
        let mut reader = Self { file, offset, size, root: 0 };
        if reader.bytes(0, 4)? == SQUASHFS_MAGIC {
            return Err(RootReadError::Squashfs);
        }
        let superblock = reader.bytes(SUPERBLOCK, 128)?;
        if number(&superblock, 0, 4) != MAGIC || superblock[12] != 12 {
            return Err(Damaged("it has no superblock of EROFS with blocks of 4 KiB"));
        }
        if number(&superblock, 80, 4) & !4 != 0 {
            return Err(Damaged("it has features that the builder does not use"));
        }
        if number(&superblock, 36, 4) * BLOCK > size {
            return Err(Damaged("it ends before its last block"));
        }
        reader.root = number(&superblock, 14, 2);
        Ok(reader)
    }

    /// Reads the inode with a number.
    fn inode(&self, id: u64) -> Result<RootInode, RootReadError> {
        let start = id.checked_mul(SLOT).ok_or(Damaged("an inode lies outside of it"))?;
        let bytes = self.bytes(start, INODE)?;
        let field = |offset, length| number(&bytes, offset, length);
        let format = field(0, 2);
        if format & 1 != 1 || !matches!(format >> 1, 0 | 2 | 4) {
            return Err(Damaged("an inode has another layout"));
        }
        let xattr_size = match field(2, 2) {
            0 => 0,
            count => 12 + (count - 1) * 4,
        };
        let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        Ok(RootInode {
            id,
            mode: u16::try_from(field(4, 2)).unwrap_or(0),
            size: field(8, 8),
            device: small(field(16, 4)),
            uid: small(field(24, 4)),
            gid: small(field(28, 4)),
            mtime: Time { seconds: field(32, 8).cast_signed(), nanoseconds: small(field(40, 4)) },
            links: small(field(44, 4)),
            xattrs: xattrs(&self.bytes(start + INODE, xattr_size)?)?,
            layout: u16::try_from(format >> 1).unwrap_or(0),
            place: field(16, 4),
            inline: start + INODE + xattr_size,
        })
    }

    /// Reads a file, a link's target or a directory from `offset` on; returns how many bytes there were.
    pub fn read(&self, inode: &RootInode, offset: u64, buffer: &mut [u8]) -> Result<usize, RootReadError> {
        let end = inode.size.min(offset.saturating_add(buffer.len() as u64));
        let mut at = offset;
        while at < end {
            // As much as lies together for sure: to the end of a block.
            let length = (end - at).min(BLOCK - at % BLOCK);
            let from = usize::try_from(at - offset).unwrap_or(usize::MAX);
            let piece = &mut buffer[from..from + usize::try_from(length).unwrap_or_default()];
            match self.place_of(inode, at)? {
                Some(place) => self.exactly(place, piece)?,
                None => piece.fill(0),
            }
            at += length;
        }
        Ok(usize::try_from(end.saturating_sub(offset)).unwrap_or(0))
    }

    /// Where a byte of an inode's content is; none in a hole.
    fn place_of(&self, inode: &RootInode, at: u64) -> Result<Option<u64>, RootReadError> {
        match inode.layout {
            2 if at / BLOCK == (inode.size - 1) / BLOCK => Ok(Some(inode.inline + at % BLOCK)),
            0 | 2 => Ok(Some(inode.place * BLOCK + at)),
            _ => {
                let bits = inode.place + 12;
                if bits > 43 {
                    return Err(Damaged("a file has chunks of another form"));
                }
                let entry = inode.inline + (at >> bits) * 4;
                match number(&self.bytes(entry, 4)?, 0, 4) {
                    HOLE => Ok(None),
                    block => Ok(Some(block * BLOCK + (at & ((1 << bits) - 1)))),
                }
            }
        }
    }

    /// The whole content of an inode of at most `limit` bytes; none where it is larger.
    pub fn content(&self, inode: &RootInode, limit: u64) -> Result<Option<Vec<u8>>, RootReadError> {
        if inode.size > limit {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(inode.size).unwrap_or_default()];
        self.read(inode, 0, &mut bytes)?;
        Ok(Some(bytes))
    }

    /// Shows every inode by its path relative to the root (the root's is empty), a directory before what is in
    /// it, in the order of the bytes of names.
    pub fn walk<E: From<RootReadError>>(
        &self,
        limits: &Limits,
        mut show: impl FnMut(&[u8], &RootInode) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut directories = BTreeSet::new();
        let mut shown = 0;
        let mut todo = vec![(Vec::new(), self.root)];
        while let Some((path, id)) = todo.pop() {
            shown += 1;
            if shown > limits.entries {
                return Err(RootReadError::TooMany(limits.entries).into());
            }
            let inode = self.inode(id)?;
            show(&path, &inode)?;
            if !inode.is(DIRECTORY) {
                continue;
            }
            if !directories.insert(id) {
                return Err(Damaged("a directory lies in two places").into());
            }
            let mut entries = self.entries(&inode)?;
            entries.reverse();
            for (name, id) in entries {
                let between: &[u8] = if path.is_empty() { b"" } else { b"/" };
                let path = [&path, between, &name].concat();
                if path.len() > limits.path {
                    return Err(Damaged("a path is too long").into());
                }
                todo.push((path, id));
            }
        }
        Ok(())
    }

    /// The entries of a directory but `.` and `..`.
    fn entries(&self, directory: &RootInode) -> Result<Vec<(Vec<u8>, u64)>, RootReadError> {
        let bytes = self.content(directory, MAX_DIRECTORY.min(self.size))?;
        let bytes = bytes.ok_or(Damaged("a directory is larger than it"))?;
        let mut found: Vec<(Vec<u8>, u64)> = Vec::new();
        for block in bytes.chunks(4096) {
            if block.len() < ENTRY {
                return Err(Damaged("a directory ends within an entry"));
            }
            let place = |index: usize| usize::try_from(number(block, index * ENTRY + 8, 2)).unwrap_or(0);
            let count = place(0) / ENTRY;
            if count == 0 || count * ENTRY > block.len() {
                return Err(Damaged("a directory has a block without entries"));
            }
            for index in 0..count {
                let end = if index + 1 < count { place(index + 1) } else { block.len() };
                let name =
                    block.get(place(index)..end).ok_or(Damaged("a name lies outside its directory"))?;
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                if name.is_empty() || name.contains(&b'/') {
                    return Err(Damaged("a name is none"));
                }
                if !matches!(name, b"." | b"..") {
                    found.push((name.to_vec(), number(block, index * ENTRY, 8)));
                }
            }
        }
        match found.windows(2).all(|pair| pair[0].0 < pair[1].0) {
            true => Ok(found),
            false => Err(Damaged("the names of a directory are not in order")),
        }
    }

    fn bytes(&self, offset: u64, length: u64) -> Result<Vec<u8>, RootReadError> {
        if offset.checked_add(length).is_none_or(|end| end > self.size) {
            return Err(Damaged("something lies outside of it"));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        self.file.read_exact_at(&mut bytes, self.offset + offset)?;
        Ok(bytes)
    }

    fn exactly(&self, offset: u64, buffer: &mut [u8]) -> Result<(), RootReadError> {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.size) {
            return Err(Damaged("a file lies outside of it"));
        }
        Ok(self.file.read_exact_at(buffer, self.offset + offset)?)
    }
}

/// A number, little endian.
fn number(bytes: &[u8], offset: usize, length: usize) -> u64 {
    let field = bytes.get(offset..offset + length).unwrap_or_default();
    field.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn xattrs(bytes: &[u8]) -> Result<Xattrs, RootReadError> {
    let mut found = Xattrs::new();
    let mut rest = bytes.get(12..).unwrap_or_default();
    while !rest.is_empty() {
        let (name, value) = (usize::from(rest[0]), usize::try_from(number(rest, 2, 2)).unwrap_or(0));
        let prefix: &[u8] = match rest.get(1) {
            Some(0) => b"",
            Some(1) => b"user.",
            Some(2) => b"system.posix_acl_access",
            Some(3) => b"system.posix_acl_default",
            Some(4) => b"trusted.",
            Some(6) => b"security.",
            _ => return Err(Damaged("an attribute has an unknown prefix")),
        };
        let outside = Damaged("an attribute ends outside its inode");
        let (Some(last), Some(content)) = (rest.get(4..4 + name), rest.get(4 + name..4 + name + value))
        else {
            return Err(outside);
        };
        found.insert([prefix, last].concat().into(), content.into());
        rest = rest.get((4 + name + value).next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(found)
}
