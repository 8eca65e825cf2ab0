//! Which clusters of the file are in use. Counts are written before anything refers to what they count, and
//! taken back after the last reference is gone: whenever the process dies, clusters are lost at most.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::header::Header;
use super::invalid;
use super::tables::read_numbers;

const SLICE_COUNTS: u64 = 2048;
const SLICE_SIZE: usize = 4096;
/// How many slices are searched for a free cluster before one is added to the file instead. The search goes on
/// from there the next time.
const SEARCH: usize = 64;

/// Clusters one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The number of the first.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// Whether they were never written: then they read as zeros.
    pub fresh: bool,
}

/// The counts of references.
pub struct Refcounts {
    cluster_bits: u32,
    table_at: u64,
    /// Where the blocks of counts are, as far as there are any.
    table: Vec<u64>,
    /// How many there can be.
    table_entries: usize,
    /// Where in the file the counts below are; 0 if there are none yet.
    slice_at: u64,
    counts: [u16; SLICE_COUNTS as usize],
    /// No cluster before this is free.
    cursor: u64,
    /// The file's size in clusters.
    end: u64,
    /// Never given away, whatever the counts say: the header and the tables of fixed places.
    reserved: [Range<u64>; 3],
    barrier: bool,
}

impl Refcounts {
    /// Loads the table of blocks.
    pub fn load(file: &File, header: &Header, barrier: bool) -> io::Result<Refcounts> {
        let bits = header.cluster_bits;
        let mut table = read_numbers(file, header.refcounts_at, header.refcounts_clusters << (bits - 3))?;
        let table_entries = table.len();
        table.truncate(table.iter().rposition(|&block| block != 0).map_or(0, |last| last + 1));
        table.shrink_to_fit();
        let clusters = |at: u64, bytes: u64| at >> bits..(at + bytes).div_ceil(1 << bits);
        let reserved = [
            0..1,
            clusters(header.l1_at, header.l1_entries * 8),
            clusters(header.refcounts_at, header.refcounts_clusters << bits),
        ];
        Ok(Refcounts {
            cluster_bits: bits,
            table_at: header.refcounts_at,
            table,
            table_entries,
            slice_at: 0,
            counts: [0; SLICE_COUNTS as usize],
            cursor: 1,
            end: file.metadata()?.len().div_ceil(1 << bits),
            reserved,
            barrier,
        })
    }

    /// How many clusters a block counts.
    fn block_counts(&self) -> u64 {
        1 << (self.cluster_bits - 1)
    }

    fn is_reserved(&self, cluster: u64) -> bool {
        self.reserved.iter().any(|range| range.contains(&cluster))
    }

    /// Whether the cluster at `offset` of the file can hold data or a table.
    pub fn holds(&self, offset: u64) -> bool {
        let cluster = offset >> self.cluster_bits;
        cluster < self.end && !self.is_reserved(cluster)
    }

    /// Takes up to `most` free clusters in a row, at least one.
    pub fn allocate(&mut self, file: &File, most: u64) -> io::Result<Run> {
        for _ in 0..SEARCH {
            if self.cursor >= self.end {
                break;
            }
            if let Some(run) = self.search(file, most)? {
                return Ok(run);
            }
        }
        self.append(file, most)
    }

    /// Looks for free clusters in the slice at the cursor.
    fn search(&mut self, file: &File, most: u64) -> io::Result<Option<Run>> {
        let start = self.cursor;
        if !self.load_slice(file, start)? {
            self.cursor = (start / self.block_counts() + 1) * self.block_counts();
            return Ok(None);
        }
        let limit = self.end.min((start / SLICE_COUNTS + 1) * SLICE_COUNTS);
        let Some(first) = (start..limit).find(|&cluster| self.is_free(cluster)) else {
            self.cursor = limit;
            return Ok(None);
        };
        let count = (first..limit.min(first.saturating_add(most)))
            .take_while(|&cluster| self.is_free(cluster))
            .count() as u64;
        self.change(file, first, count, |_| 1)?;
        self.cursor = first + count;
        Ok(Some(Run { first, count, fresh: false }))
    }

    /// Makes the file larger by up to `most` clusters.
    fn append(&mut self, file: &File, most: u64) -> io::Result<Run> {
        while !self.load_slice(file, self.end)? {
            self.add_block(file)?;
        }
        let limit = (self.end / SLICE_COUNTS + 1) * SLICE_COUNTS;
        // Counts behind the end of the file are wrong, but not for us to mend.
        let first = (self.end..limit).find(|&cluster| self.is_free(cluster));
        let Some(first) = first else { return Err(invalid("a count of references")) };
        let count = (first..limit.min(first.saturating_add(most)))
            .take_while(|&cluster| self.is_free(cluster))
            .count() as u64;
        let length = (first + count).checked_mul(1 << self.cluster_bits).ok_or(io::ErrorKind::StorageFull)?;
        file.set_len(length)?;
        self.change(file, first, count, |_| 1)?;
        self.end = first + count;
        Ok(Run { first, count, fresh: true })
    }

    /// Makes a block of counts for the end of the file, there, so that it counts itself.
    fn add_block(&mut self, file: &File) -> io::Result<()> {
        let index = usize::try_from(self.end / self.block_counts()).unwrap_or(usize::MAX);
        if index >= self.table_entries {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let at = self.end << self.cluster_bits;
        let mut block = vec![0; 1 << self.cluster_bits];
        let own = (self.end % (1 << (self.cluster_bits - 1)) * 2) as usize;
        if let Some(count) = block.get_mut(own + 1) {
            *count = 1;
        }
        file.write_all_at(&block, at)?;
        if self.barrier {
            file.sync_data()?;
        }
        file.write_all_at(&at.to_be_bytes(), self.table_at + index as u64 * 8)?;
        if index >= self.table.len() {
            self.table.resize(index + 1, 0);
        }
        if let Some(entry) = self.table.get_mut(index) {
            *entry = at;
        }
        self.end += 1;
        Ok(())
    }

    /// Gives back one reference to each cluster of the run; calls `freed` for those that nothing refers to
    /// any more.
    pub fn release(
        &mut self,
        file: &File,
        mut first: u64,
        mut count: u64,
        mut freed: impl FnMut(u64),
    ) -> io::Result<()> {
        while count > 0 {
            let now = count.min(SLICE_COUNTS - first % SLICE_COUNTS);
            if !self.load_slice(file, first)? {
                return Err(invalid("a missing count of references"));
            }
            let last: Vec<u64> = (first..first + now).filter(|&cluster| self.count(cluster) == 1).collect();
            self.change(file, first, now, |count| count.saturating_sub(1))?;
            if let Some(&lowest) = last.first() {
                self.cursor = self.cursor.min(lowest);
            }
            last.into_iter().for_each(&mut freed);
            first += now;
            count -= now;
        }
        Ok(())
    }

    fn count(&self, cluster: u64) -> u16 {
        self.counts.get((cluster % SLICE_COUNTS) as usize).copied().unwrap_or(u16::MAX)
    }

    fn is_free(&self, cluster: u64) -> bool {
        self.count(cluster) == 0 && !self.is_reserved(cluster)
    }

    /// Changes the counts of clusters in the slice that is loaded, in the file first.
    fn change(&mut self, file: &File, first: u64, count: u64, to: impl Fn(u16) -> u16) -> io::Result<()> {
        let start = (first % SLICE_COUNTS) as usize;
        let Some(counts) = self.counts.get_mut(start..start + count as usize) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let new: Vec<u16> = counts.iter().map(|&count| to(count)).collect();
        let bytes: Vec<u8> = new.iter().flat_map(|count| count.to_be_bytes()).collect();
        file.write_all_at(&bytes, self.slice_at + start as u64 * 2)?;
        counts.copy_from_slice(&new);
        Ok(())
    }

    /// Loads the counts around `cluster`. False if there is no block for them.
    fn load_slice(&mut self, file: &File, cluster: u64) -> io::Result<bool> {
        let index = usize::try_from(cluster / self.block_counts()).unwrap_or(usize::MAX);
        let Some(&block) = self.table.get(index) else { return Ok(false) };
        if block == 0 {
            return Ok(false);
        }
        if !block.is_multiple_of(1 << self.cluster_bits) || !self.holds(block) {
            return Err(invalid("a block of counts"));
        }
        let at = block + (cluster % self.block_counts() / SLICE_COUNTS) * SLICE_SIZE as u64;
        if at != self.slice_at {
            let mut bytes = [0; SLICE_SIZE];
            file.read_exact_at(&mut bytes, at)?;
            let (counts, _) = bytes.as_chunks::<2>();
            for (to, from) in self.counts.iter_mut().zip(counts) {
                *to = u16::from_be_bytes(*from);
            }
            self.slice_at = at;
        }
        Ok(true)
    }
}
