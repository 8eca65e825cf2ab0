//! Writes qcow2 version 3 in one pass: the header's cluster, the data as it comes, then the tables. Equal disks
//! give equal bytes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::PIECE;

/// log2 of a cluster's size: that of a piece.
const CLUSTER_BITS: u32 = 16;
/// Entries of a table that is one cluster.
const ENTRIES: u64 = PIECE / 8;
/// Counts of 16 bits in one cluster.
const COUNTS: u64 = PIECE / 2;
/// An entry of a cluster that nobody else uses.
const COPIED: u64 = 1 << 63;

pub(super) struct Qcow2Writer<'f> {
    file: &'f File,
    /// Clusters that are taken; the header has the first.
    clusters: u64,
    /// The data's clusters: of the disk, of the file.
    map: Vec<(u64, u64)>,
}

impl<'f> Qcow2Writer<'f> {
    pub(super) fn new(file: &'f File) -> Self {
        Self { file, clusters: 1, map: Vec::new() }
    }

    /// Writes a piece, behind all that were written.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let cluster = self.take(1);
        self.map.push((offset / PIECE, cluster));
        self.file.write_all_at(bytes, cluster * PIECE)
    }

    fn take(&mut self, count: u64) -> u64 {
        let first = self.clusters;
        self.clusters += count;
        first
    }

    /// Writes tables and header for a disk of `size` bytes.
    pub(super) fn finish(mut self, size: u64) -> io::Result<()> {
        let l1_entries = size.div_ceil(PIECE * ENTRIES).max(1);
        let l1 = self.take(l1_entries.div_ceil(ENTRIES));
        let map = std::mem::take(&mut self.map);
        for part in map.chunk_by(|one, two| one.0 / ENTRIES == two.0 / ENTRIES) {
            let table = self.take(1);
            let mut bytes = vec![0; usize::try_from(PIECE).unwrap_or_default()];
            for (cluster, place) in part {
                let at = usize::try_from(cluster % ENTRIES * 8).unwrap_or_default();
                bytes[at..at + 8].copy_from_slice(&((place * PIECE) | COPIED).to_be_bytes());
            }
            self.file.write_all_at(&bytes, table * PIECE)?;
            let entry = part.first().map_or(0, |(cluster, _)| cluster / ENTRIES);
            self.file.write_all_at(&((table * PIECE) | COPIED).to_be_bytes(), l1 * PIECE + entry * 8)?;
        }
        let (table, table_clusters) = self.counts()?;
        self.file.set_len(self.clusters * PIECE)?;
        let mut header = [0; 104];
        let mut put = |at: usize, field: &[u8]| header[at..at + field.len()].copy_from_slice(field);
        let short = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).to_be_bytes();
        put(0, b"QFI\xfb");
        put(4, &3_u32.to_be_bytes());
        put(20, &CLUSTER_BITS.to_be_bytes());
        put(24, &size.to_be_bytes());
        put(36, &short(l1_entries));
        put(40, &(l1 * PIECE).to_be_bytes());
        put(48, &(table * PIECE).to_be_bytes());
        put(56, &short(table_clusters));
        // Counts of 2^4 bits; the length of this header.
        put(96, &4_u32.to_be_bytes());
        put(100, &104_u32.to_be_bytes());
        self.file.write_all_at(&header, 0)
    }

    /// Writes that every cluster is used once; returns where the table of counts is and its clusters.
    fn counts(&mut self) -> io::Result<(u64, u64)> {
        let (mut blocks, mut table) = (0, 0);
        loop {
            let needed = (self.clusters + blocks + table).div_ceil(COUNTS);
            if needed == blocks {
                break;
            }
            (blocks, table) = (needed, needed.div_ceil(ENTRIES));
        }
        let (table_place, first) = (self.take(table), self.take(blocks));
        for block in 0..blocks {
            let used = (self.clusters - block * COUNTS).min(COUNTS);
            let ones = [0, 1].repeat(usize::try_from(used).unwrap_or_default());
            self.file.write_all_at(&ones, (first + block) * PIECE)?;
            let entry = ((first + block) * PIECE).to_be_bytes();
            self.file.write_all_at(&entry, table_place * PIECE + block * 8)?;
        }
        Ok((table_place, table))
    }
}
