//! Reads qcow2 (QEMU's `docs/interop/qcow2.rst`), versions 2 and 3, compressed clusters included. What a table
//! says is checked where it is used. Files that the header names are never opened: such a disk is refused.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use super::{DiskError, PIECE};
use crate::limits::Limits;

/// `QFI\xfb`
const MAGIC: &[u8] = b"QFI\xfb";
/// The fields of version 3 with the type of compression.
const HEADER: usize = 112;
/// Where an entry's place in the file is, in entries of both tables.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// An entry of a cluster that is compressed.
const COMPRESSED: u64 = 1 << 62;
/// An entry of a cluster that reads as zeros (version 3).
const ZERO: u64 = 1;
/// The largest first table, in entries: 8 TiB with clusters of 64 KiB have 16384.
const MAX_L1: u64 = 1 << 22;

/// What pieces are shown to.
type Show<'s> = dyn FnMut(u64, &[u8]) -> Result<(), DiskError> + 's;

/// A qcow2, open.
pub(super) struct Qcow2Reader {
    file: File,
    length: u64,
    name: String,
    size: u64,
    cluster_bits: u32,
    version: u32,
    zstd: bool,
    l1: Vec<u64>,
}

impl Qcow2Reader {
    /// Reads the header and the first table.
    pub(super) fn open(file: File, name: String, limits: &Limits) -> Result<Self, DiskError> {
        let refused = |why| DiskError::Qcow2(name.clone(), why);
        let failed = |error| DiskError::Read(name.clone(), error);
        let length = file.metadata().map_err(failed)?.len();
        let mut header = [0; HEADER];
        let present = usize::try_from(length).unwrap_or(HEADER).min(HEADER);
        file.read_exact_at(&mut header[..present], 0).map_err(failed)?;
        if present < 72 || !header.starts_with(MAGIC) {
            return Err(refused("it has no header"));
        }
        let (word, long) = (|at| number(&header, at, 4), |at| number(&header, at, 8));
        let version = u32::try_from(word(4)).unwrap_or(0);
        if !matches!(version, 2 | 3) || version == 3 && present < 104 {
            return Err(refused("its version is neither 2 nor 3"));
        }
        let features = if version == 3 { long(72) } else { 0 };
        if long(8) != 0 || word(16) != 0 {
            return Err(refused("it is based on another file, which is not opened"));
        }
        if features & 4 != 0 {
            return Err(refused("its data is in another file, which is not opened"));
        }
        if word(32) != 0 {
            return Err(refused("it is encrypted"));
        }
        if features & 2 != 0 {
            return Err(refused("it is marked as damaged"));
        }
        if features & !0b1001 != 0 {
            return Err(refused("it has features that are not known here"));
        }
        let compression = if features & 8 != 0 && word(100) > 104 { header[104] } else { 0 };
        if compression > 1 || features & 8 != 0 && word(100) <= 104 {
            return Err(refused("its type of compression is not known here"));
        }
        let (cluster_bits, size) = (u32::try_from(word(20)).unwrap_or(0), long(24));
        if !(9..=21).contains(&cluster_bits) {
            return Err(refused("its clusters are not of 512 bytes to 2 MiB"));
        }
        if size > limits.size {
            return Err(DiskError::Large(name, limits.size));
        }
        let mut reader =
            Self { file, length, name, size, cluster_bits, version, zstd: compression == 1, l1: Vec::new() };
        let needed = size.div_ceil(1 << (2 * cluster_bits - 3));
        if needed > MAX_L1 || word(36) < needed {
            return Err(reader.refused("its first table is too small or too large"));
        }
        reader.l1 = reader.table(long(40), needed)?;
        Ok(reader)
    }

    fn refused(&self, why: &'static str) -> DiskError {
        DiskError::Qcow2(self.name.clone(), why)
    }

    fn failed(&self, error: io::Error) -> DiskError {
        DiskError::Read(self.name.clone(), error)
    }

    /// A table of `count` entries.
    fn table(&self, offset: u64, count: u64) -> Result<Vec<u64>, DiskError> {
        if offset.checked_add(count * 8).is_none_or(|end| end > self.length) {
            return Err(self.refused("a table lies outside of it"));
        }
        let mut bytes = vec![0; usize::try_from(count * 8).unwrap_or_default()];
        self.file.read_exact_at(&mut bytes, offset).map_err(|error| self.failed(error))?;
        Ok(bytes.chunks_exact(8).map(|entry| number(entry, 0, 8)).collect())
    }

    /// Shows the disk's pieces that are allocated; returns its size.
    pub(super) fn each_piece(&self, show: &mut Show<'_>) -> Result<u64, DiskError> {
        let cluster_size = 1_u64 << self.cluster_bits;
        // Pieces start at multiples of their size: small clusters are gathered, large ones taken apart.
        let mut gathered = vec![0; usize::try_from(cluster_size.max(PIECE)).unwrap_or_default()];
        let per_piece = (PIECE >> self.cluster_bits).max(1);
        // Where the piece starts of which something is gathered.
        let mut pending = None;
        let clusters = self.size.div_ceil(cluster_size);
        for (index, entry) in (0_u64..).zip(&self.l1) {
            let entry = entry & OFFSET;
            if entry == 0 {
                continue;
            }
            let first = index << (self.cluster_bits - 3);
            let count = (clusters - first).min(cluster_size / 8);
            for (cluster, entry) in (first..).zip(self.table(entry, count)?) {
                let start = (cluster - cluster % per_piece) * cluster_size;
                if let Some(other) = pending.filter(|pending| *pending != start) {
                    self.show(other, &gathered, show)?;
                    gathered.fill(0);
                    pending = None;
                }
                let place = usize::try_from(cluster % per_piece * cluster_size).unwrap_or_default();
                let buffer = &mut gathered[place..place + usize::try_from(cluster_size).unwrap_or_default()];
                if self.cluster(entry, buffer)? {
                    pending = Some(start);
                }
            }
        }
        if let Some(start) = pending {
            self.show(start, &gathered, show)?;
        }
        Ok(self.size)
    }

    fn show(&self, start: u64, bytes: &[u8], show: &mut Show<'_>) -> Result<(), DiskError> {
        let mut offset = start;
        for piece in bytes.chunks(usize::try_from(PIECE).unwrap_or(usize::MAX)) {
            let length = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
            if length > 0 {
                show(offset, &piece[..length.min(piece.len())])?;
            }
            offset += piece.len() as u64;
        }
        Ok(())
    }

    /// Reads a cluster by its entry; tells whether there is one.
    fn cluster(&self, entry: u64, buffer: &mut [u8]) -> Result<bool, DiskError> {
        if entry & COMPRESSED != 0 {
            return self.compressed(entry, buffer).map(|()| true);
        }
        let offset = entry & OFFSET;
        if offset == 0 || self.version == 3 && entry & ZERO != 0 {
            return Ok(false);
        }
        // The last cluster of a file may be cut: QEMU writes it so.
        let left = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        if left == 0 {
            return Err(self.refused("a cluster lies outside of it"));
        }
        let length = left.min(buffer.len());
        let (present, rest) = buffer.split_at_mut(length);
        rest.fill(0);
        self.file.read_exact_at(present, offset).map_err(|error| self.failed(error))?;
        Ok(true)
    }

    fn compressed(&self, entry: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let bits = 62 - (self.cluster_bits - 8);
        let offset = entry & ((1 << bits) - 1);
        let sectors = (entry & (COMPRESSED - 1)) >> bits;
        let end = offset.saturating_add((sectors + 1) * 512 - offset % 512).min(self.length);
        if end <= offset {
            return Err(self.refused("a cluster lies outside of it"));
        }
        let mut packed = vec![0; usize::try_from(end - offset).unwrap_or_default()];
        self.file.read_exact_at(&mut packed, offset).map_err(|error| self.failed(error))?;
        let unpacked = if self.zstd {
            zstd::stream::read::Decoder::with_buffer(&packed[..])
                .and_then(|mut decoder| decoder.read_exact(buffer))
        } else {
            flate2::bufread::DeflateDecoder::new(&packed[..]).read_exact(buffer)
        };
        unpacked.map_err(|_| self.refused("a compressed cluster is damaged"))
    }
}

/// A number, big endian.
fn number(bytes: &[u8], offset: usize, length: usize) -> u64 {
    let field = bytes.get(offset..offset + length).unwrap_or_default();
    field.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}
