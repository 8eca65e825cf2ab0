//! Where each cluster of the disk is: two levels of tables. Entries are kept in slices of 4 KiB, a bounded
//! number of them, and changes wait there until they are written back.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::header::Header;
use super::invalid;

const SLICE_ENTRIES: usize = 512;
const SLICE_SIZE: usize = SLICE_ENTRIES * 8;
/// How many slices are kept at once: with clusters of 64 KiB they describe 4 GiB.
const SLOTS: u64 = 128;

/// There is exactly one reference to what the entry points to: it may be written in place.
pub const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
/// The cluster reads as zeros, whatever the entry points to.
pub const ZERO: u64 = 1;
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// Where a cluster's content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapping {
    /// In the base.
    Base,
    /// It is zero. A cluster of the file may be kept for it, which may be written in place.
    Zero(Option<u64>),
    /// At this offset of the file, which may be written in place.
    Own(u64),
    /// At this offset of the file, which must not be written.
    Shared(u64),
}

impl Mapping {
    /// What an entry says. Bits that have no meaning, and compressed clusters, are refused.
    fn parse(entry: u64, cluster_bits: u32) -> io::Result<Mapping> {
        let host = offset(entry & !ZERO, cluster_bits)?;
        Ok(match (host, entry & ZERO != 0, entry & COPIED != 0) {
            (None, false, _) => Mapping::Base,
            (Some(host), true, true) => Mapping::Zero(Some(host)),
            (_, true, _) => Mapping::Zero(None),
            (Some(host), false, true) => Mapping::Own(host),
            (Some(host), false, false) => Mapping::Shared(host),
        })
    }
}

/// The offset in an entry; None if it is 0.
fn offset(entry: u64, cluster_bits: u32) -> io::Result<Option<u64>> {
    let at = entry & OFFSET;
    if entry & COMPRESSED != 0 {
        return Err(invalid("a compressed cluster"));
    }
    if entry & !(OFFSET | COPIED) != 0 || !at.is_multiple_of(1 << cluster_bits) {
        return Err(invalid("an entry of a table"));
    }
    Ok((at != 0).then_some(at))
}

struct Slice {
    /// Which one of the disk's, counted from 0.
    number: u64,
    /// Where it is in the file.
    at: u64,
    entries: [u64; SLICE_ENTRIES],
    /// What has not been written back yet.
    changed: Range<usize>,
}

/// Both levels.
pub struct Tables {
    cluster_bits: u32,
    l1_at: u64,
    l1: Vec<u64>,
    l1_changed: BTreeSet<usize>,
    /// By number modulo their count.
    slots: Vec<Option<Box<Slice>>>,
    /// What entries point to has to be on the disk before they are.
    barrier: bool,
}

impl Tables {
    /// Loads the first level.
    pub fn load(file: &File, header: &Header, barrier: bool) -> io::Result<Tables> {
        let l1 = read_numbers(file, header.l1_at, header.l1_entries)?;
        let slots = (0..SLOTS).map(|_| None).collect();
        let Header { cluster_bits, l1_at, .. } = *header;
        Ok(Tables { cluster_bits, l1_at, l1, l1_changed: BTreeSet::new(), slots, barrier })
    }

    /// How many entries a table of the second level has.
    fn table_entries(&self) -> u64 {
        1 << (self.cluster_bits - 3)
    }

    fn l1_index(&self, cluster: u64) -> usize {
        usize::try_from(cluster / self.table_entries()).unwrap_or(usize::MAX)
    }

    /// The table that `cluster`'s entry is in, and whether it may be written. None if there is no such table.
    pub fn table(&self, cluster: u64) -> io::Result<Option<(u64, bool)>> {
        let entry = *self.l1.get(self.l1_index(cluster)).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(offset(entry, self.cluster_bits)?.map(|at| (at, entry & COPIED != 0)))
    }

    /// Hangs a new table of zeros in for `cluster`.
    pub fn add_table(&mut self, cluster: u64, at: u64) {
        let index = self.l1_index(cluster);
        if let Some(entry) = self.l1.get_mut(index) {
            *entry = at | COPIED;
            self.l1_changed.insert(index);
        }
    }

    /// The first cluster behind those whose entries are in the same table as `cluster`'s.
    pub fn next_table(&self, cluster: u64) -> u64 {
        (cluster / self.table_entries() + 1) * self.table_entries()
    }

    /// How many entries are left in `cluster`'s slice, its own included.
    pub fn left_in_slice(cluster: u64) -> u64 {
        SLICE_ENTRIES as u64 - cluster % SLICE_ENTRIES as u64
    }

    /// Where `cluster` is.
    pub fn mapping(&mut self, file: &File, cluster: u64) -> io::Result<Mapping> {
        match self.slice(file, cluster)? {
            Some(slice) => {
                let entry = slice.entries.get((cluster % SLICE_ENTRIES as u64) as usize).copied();
                Mapping::parse(entry.unwrap_or_default(), self.cluster_bits)
            }
            None => Ok(Mapping::Base),
        }
    }

    /// Changes the entry of `cluster`, whose table is there.
    pub fn set(&mut self, file: &File, cluster: u64, entry: u64) -> io::Result<()> {
        let slice = self.slice(file, cluster)?.ok_or_else(|| invalid("a missing table"))?;
        let index = (cluster % SLICE_ENTRIES as u64) as usize;
        if let Some(old) = slice.entries.get_mut(index) {
            *old = entry;
        }
        slice.changed = if slice.changed.is_empty() {
            index..index + 1
        } else {
            slice.changed.start.min(index)..slice.changed.end.max(index + 1)
        };
        Ok(())
    }

    /// The slice with the entry of `cluster`, if there is a table for it.
    fn slice(&mut self, file: &File, cluster: u64) -> io::Result<Option<&mut Slice>> {
        let number = cluster / SLICE_ENTRIES as u64;
        let slot = (number % SLOTS) as usize;
        let there = self.slots.get(slot).and_then(Option::as_ref);
        if there.is_none_or(|slice| slice.number != number) {
            let Some((table, _)) = self.table(cluster)? else { return Ok(None) };
            if there.is_some_and(|slice| !slice.changed.is_empty()) {
                self.write_back(file)?;
            }
            let first = number * SLICE_ENTRIES as u64;
            let at = table + first % self.table_entries() * 8;
            let numbers = read_numbers(file, at, SLICE_ENTRIES as u64)?;
            let entries = numbers.try_into().map_err(|_| io::ErrorKind::UnexpectedEof)?;
            let slice = Slice { number, at, entries, changed: 0..0 };
            if let Some(place) = self.slots.get_mut(slot) {
                *place = Some(Box::new(slice));
            }
        }
        Ok(self.slots.get_mut(slot).and_then(Option::as_deref_mut))
    }

    /// Whether something waits to be written back.
    pub fn is_changed(&self) -> bool {
        !self.l1_changed.is_empty() || self.slots.iter().flatten().any(|slice| !slice.changed.is_empty())
    }

    /// Writes every change. What fails stays to be written.
    pub fn write_back(&mut self, file: &File) -> io::Result<()> {
        if !self.is_changed() {
            return Ok(());
        }
        if self.barrier {
            file.sync_data()?;
        }
        for slice in self.slots.iter_mut().flatten().filter(|slice| !slice.changed.is_empty()) {
            let changed = slice.entries.get(slice.changed.clone()).unwrap_or_default();
            let bytes: Vec<u8> = changed.iter().flat_map(|entry| entry.to_be_bytes()).collect();
            file.write_all_at(&bytes, slice.at + slice.changed.start as u64 * 8)?;
            slice.changed = 0..0;
        }
        while let Some(&index) = self.l1_changed.first() {
            let entry = self.l1.get(index).copied().unwrap_or_default();
            file.write_all_at(&entry.to_be_bytes(), self.l1_at + index as u64 * 8)?;
            self.l1_changed.remove(&index);
        }
        Ok(())
    }
}

/// `count` numbers at `at` of `file`; the caller bounds `count`.
pub fn read_numbers(file: &File, at: u64, count: u64) -> io::Result<Vec<u64>> {
    let length = usize::try_from(count * 8).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, at)?;
    let (numbers, _) = bytes.as_chunks::<8>();
    Ok(numbers.iter().map(|number| u64::from_be_bytes(*number)).collect())
}

const _: () = assert!(SLICE_SIZE == 4096);
