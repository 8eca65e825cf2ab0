//! A drive whose sectors are those of a base, but for what was written since: that is in a qcow2 file beside
//! it, as `qemu-img create -b` makes it.
//!
//! A guest's write goes to a cluster of the file that is its own; the first one takes a free cluster. In every
//! moment the file is whole: counts of references are written before the references, and with a `barrier`
//! what is referred to is on the host's disk before the reference is. So a killed process leaves clusters that
//! nobody uses, at most. What is in a table is checked when it is used, since the file may be anybody's.

mod fault;
mod header;
mod refcounts;
mod tables;
mod transfer;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use self::fault::OverlayFault;
use self::header::Header;
use self::refcounts::{Refcounts, Run};
use self::tables::{COPIED, Mapping, Tables, ZERO};
pub use self::transfer::Transfer;
use self::transfer::{Bytes, Zeros};
use super::raw::{DriveError, RawDrive};

/// How many clusters may wait to be given back.
const FREED_MAX: usize = 4096;

/// A base with a qcow2 file over it.
pub struct Overlay {
    base: RawDrive,
    file: RawDrive,
    size: u64,
    cluster_bits: u32,
    read_only: bool,
    state: Mutex<State>,
}

struct State {
    tables: Tables,
    refcounts: Refcounts,
    /// Clusters that no table in memory refers to any more, but one in the file may.
    freed: Vec<u64>,
    /// The guest is promised that what it flushed is on the disk: then changes of tables wait for that.
    barrier: bool,
}

impl std::fmt::Debug for Overlay {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Overlay").field("file", &self.file).field("base", &self.base).finish()
    }
}

impl Overlay {
    /// Opens the qcow2 file `path` over the raw file `base`, which is only read. With `durable`, what was
    /// flushed outlives the host, and what was not flushed may be lost with this process.
    pub fn open(path: &Path, base: &Path, read_only: bool, durable: bool) -> Result<Overlay, DriveError> {
        let base_drive = RawDrive::open(base, true)?;
        let file = RawDrive::open(path, read_only)?;
        let refused = |source| DriveError::Overlay { path: path.to_owned(), source };
        if file.is_block_device() {
            return Err(refused(OverlayFault::BlockDevice));
        }
        lock(file.file(), read_only).map_err(refused)?;
        let header = Header::read(file.file(), path, base, base_drive.size()).map_err(refused)?;
        let failed = |error: io::Error| refused(error.into());
        let tables = Tables::load(file.file(), &header, durable).map_err(failed)?;
        let refcounts = Refcounts::load(file.file(), &header, durable).map_err(failed)?;
        let state = State { tables, refcounts, freed: Vec::new(), barrier: durable };
        let Header { size, cluster_bits, .. } = header;
        Ok(Overlay { base: base_drive, file, size, cluster_bits, read_only, state: Mutex::new(state) })
    }

    /// The size of the disk in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How much is taken and given back at a time, in bytes.
    pub fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Reads `length` bytes from `offset` on.
    pub fn read(&self, offset: u64, length: u64, into: &mut dyn Transfer) -> io::Result<()> {
        let end = self.end(offset, length)?;
        self.read_until(&mut self.state(), offset, end, into)
    }

    /// Writes `length` bytes from `offset` on.
    pub fn write(&self, mut offset: u64, length: u64, from: &mut dyn Transfer) -> io::Result<()> {
        let end = self.end_to_change(offset, length)?;
        let mut state = self.state();
        while offset < end {
            offset += self.write_some(&mut state, offset, end, from)?;
        }
        self.settle(&mut state)
    }

    /// Nobody needs these bytes any more: whole clusters are given back, and read as zeros from then on.
    pub fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        let end = self.end_to_change(offset, length)?;
        let mut state = self.state();
        let (mut cluster, last) = self.whole_clusters(offset, end);
        while cluster < last {
            if state.tables.table(cluster)?.is_none() {
                cluster = state.tables.next_table(cluster);
                continue;
            }
            if state.mapping(self, cluster)?.host().is_some() {
                self.map_zeros(&mut state, cluster, false)?;
            }
            cluster += 1;
        }
        self.settle(&mut state)
    }

    /// Makes these bytes zero, and with `unmap` gives the room of whole clusters back. Returns how many bytes had
    /// to be written.
    pub fn zero(&self, offset: u64, length: u64, unmap: bool) -> io::Result<u64> {
        let end = self.end_to_change(offset, length)?;
        let mut state = self.state();
        let (first, last) = self.whole_clusters(offset, end);
        for cluster in first..last {
            match state.mapping(self, cluster)? {
                Mapping::Base if cluster << self.cluster_bits >= self.base.size() => {}
                Mapping::Zero(None) => {}
                Mapping::Zero(Some(_)) if !unmap => {}
                _ => self.map_zeros(&mut state, cluster, !unmap)?,
            }
        }
        let (first, last) = (first << self.cluster_bits, last << self.cluster_bits);
        let mut written = 0;
        let parts =
            if first < last { [(offset, first), (last.min(end), end)] } else { [(offset, end), (end, end)] };
        for (mut offset, end) in parts {
            while offset < end {
                let moved = self.write_some(&mut state, offset, end, &mut Zeros)?;
                offset += moved;
                written += moved;
            }
        }
        self.settle(&mut state)?;
        Ok(written)
    }

    /// Makes durable what was written.
    pub fn flush(&self) -> io::Result<()> {
        if self.read_only {
            return Ok(());
        }
        let mut state = self.state();
        state.tables.write_back(self.file.file())?;
        self.file.file().sync_data()?;
        self.give_back(&mut state)
    }

    /// Writes everything to the file that is not there yet. Nothing is promised of the host's disk.
    pub fn write_back(&self) -> io::Result<()> {
        if self.read_only {
            return Ok(());
        }
        self.commit(&mut self.state())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, offset: u64, length: u64) -> io::Result<u64> {
        let end = offset.checked_add(length).filter(|&end| end <= self.size);
        end.ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    fn end_to_change(&self, offset: u64, length: u64) -> io::Result<u64> {
        if self.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        self.end(offset, length)
    }

    /// The clusters that lie between two offsets with all that they have: the disk's last one may be short.
    fn whole_clusters(&self, offset: u64, end: u64) -> (u64, u64) {
        let size = self.cluster_size();
        let last = if end == self.size { end.div_ceil(size) } else { end / size };
        (offset.div_ceil(size), last)
    }

    fn read_until(
        &self,
        state: &mut State,
        mut offset: u64,
        end: u64,
        into: &mut dyn Transfer,
    ) -> io::Result<()> {
        while offset < end {
            let mapping = state.mapping(self, offset >> self.cluster_bits)?;
            let next = self.stretch(state, mapping, offset, end)?;
            let count = next - offset;
            match mapping {
                Mapping::Base => {
                    let there = self.base.size().saturating_sub(offset).min(count);
                    if there > 0 {
                        into.read(self.base.file(), offset, there)?;
                    }
                    if there < count {
                        into.zeros(count - there)?;
                    }
                }
                Mapping::Zero(_) => into.zeros(count)?,
                Mapping::Own(host) | Mapping::Shared(host) => {
                    into.read(self.file.file(), host + offset % self.cluster_size(), count)?;
                }
            }
            offset = next;
        }
        Ok(())
    }

    /// Where, at most at `end`, the clusters end that go on as the one at `offset` does.
    fn stretch(&self, state: &mut State, mapping: Mapping, offset: u64, end: u64) -> io::Result<u64> {
        let mut cluster = offset >> self.cluster_bits;
        let mut expected = mapping;
        loop {
            cluster += 1;
            let next = cluster << self.cluster_bits;
            if next >= end {
                return Ok(end);
            }
            expected = match expected {
                Mapping::Own(host) => Mapping::Own(host + self.cluster_size()),
                Mapping::Shared(host) => Mapping::Shared(host + self.cluster_size()),
                Mapping::Base | Mapping::Zero(_) => expected,
            };
            let found = state.mapping(self, cluster)?;
            let zeros = matches!((found, expected), (Mapping::Zero(_), Mapping::Zero(_)));
            if found != expected && !zeros {
                return Ok(next);
            }
        }
    }

    /// Writes the first part of what is to be written between `offset` and `end`; returns how much that was.
    fn write_some(
        &self,
        state: &mut State,
        offset: u64,
        end: u64,
        from: &mut dyn Transfer,
    ) -> io::Result<u64> {
        let cluster = offset >> self.cluster_bits;
        let mapping = state.mapping(self, cluster)?;
        if let Mapping::Own(host) = mapping {
            let count = self.stretch(state, mapping, offset, end)? - offset;
            from.write(self.file.file(), host + offset % self.cluster_size(), count)?;
            return Ok(count);
        }
        self.ensure_table(state, cluster)?;
        let kept = matches!(mapping, Mapping::Zero(Some(_)));
        let run = match mapping {
            Mapping::Zero(Some(host)) => Run { first: host >> self.cluster_bits, count: 1, fresh: false },
            _ => {
                let wanted = self.without_own(state, cluster, end)?;
                state.refcounts.allocate(self.file.file(), wanted)?
            }
        };
        let run_end = (cluster + run.count) << self.cluster_bits;
        let count = run_end.min(end) - offset;
        if let Err(error) = self.fill(state, run, offset, count, from) {
            if !kept {
                // Nothing refers to it; lost, if that fails too.
                let _ = state.refcounts.release(self.file.file(), run.first, run.count, |_| {});
            }
            return Err(error);
        }
        self.map(state, cluster, run)?;
        Ok(count)
    }

    /// How many clusters from `cluster` on until `end` need a new cluster of the file; their entries are in one
    /// slice.
    fn without_own(&self, state: &mut State, cluster: u64, end: u64) -> io::Result<u64> {
        let most = Tables::left_in_slice(cluster).min(end.div_ceil(self.cluster_size()) - cluster);
        let mut count = 1;
        while count < most
            && !matches!(state.mapping(self, cluster + count)?, Mapping::Own(_) | Mapping::Zero(Some(_)))
        {
            count += 1;
        }
        Ok(count)
    }

    /// Writes the clusters of `run`: `count` new bytes for the disk's `offset`, and around them what was there.
    fn fill(
        &self,
        state: &mut State,
        run: Run,
        offset: u64,
        count: u64,
        from: &mut dyn Transfer,
    ) -> io::Result<()> {
        let start = offset & !(self.cluster_size() - 1);
        let host = run.first << self.cluster_bits;
        let run_end = (start + (run.count << self.cluster_bits)).min(self.size);
        for (first, end) in [(start, offset), (offset + count, run_end)] {
            if first >= end {
                continue;
            }
            let mut old = vec![0; usize::try_from(end - first).map_err(|_| io::ErrorKind::OutOfMemory)?];
            self.read_until(state, first, end, &mut Bytes(&mut old))?;
            if !run.fresh || old.iter().any(|&byte| byte != 0) {
                self.file.file().write_all_at(&old, host + (first - start))?;
            }
        }
        from.write(self.file.file(), host + (offset - start), count)
    }

    /// Lets the disk's clusters from `cluster` on be those of `run`.
    fn map(&self, state: &mut State, cluster: u64, run: Run) -> io::Result<()> {
        for index in 0..run.count {
            let host = (run.first + index) << self.cluster_bits;
            let old = state.mapping(self, cluster + index)?.host();
            state.tables.set(self.file.file(), cluster + index, host | COPIED)?;
            state.freed.extend(old.filter(|&old| old != host).map(|old| old >> self.cluster_bits));
        }
        Ok(())
    }

    /// Makes a whole cluster zero by its entry alone.
    fn map_zeros(&self, state: &mut State, cluster: u64, keep: bool) -> io::Result<()> {
        self.ensure_table(state, cluster)?;
        let mapping = state.mapping(self, cluster)?;
        let entry = match mapping {
            Mapping::Own(host) if keep => host | COPIED | ZERO,
            _ => ZERO,
        };
        state.tables.set(self.file.file(), cluster, entry)?;
        if entry == ZERO {
            state.freed.extend(mapping.host().map(|host| host >> self.cluster_bits));
        }
        if state.freed.len() < FREED_MAX { Ok(()) } else { self.commit(state) }
    }

    /// Makes sure that there is a table for the entry of `cluster`.
    fn ensure_table(&self, state: &mut State, cluster: u64) -> io::Result<()> {
        match state.tables.table(cluster)? {
            Some((at, true)) if state.refcounts.holds(at) => return Ok(()),
            Some(_) => return Err(invalid("a table")),
            None => {}
        }
        let file = self.file.file();
        let run = state.refcounts.allocate(file, 1)?;
        let at = run.first << self.cluster_bits;
        let zeros = vec![0; 1 << self.cluster_bits];
        if let Err(error) = file.write_all_at(&zeros, at) {
            let _ = state.refcounts.release(file, run.first, 1, |_| {});
            return Err(error);
        }
        state.tables.add_table(cluster, at);
        Ok(())
    }

    /// After a request. What may be lost with the process waits; the rest is in the file from now on.
    fn settle(&self, state: &mut State) -> io::Result<()> {
        if state.barrier && state.freed.len() < FREED_MAX { Ok(()) } else { self.commit(state) }
    }

    fn commit(&self, state: &mut State) -> io::Result<()> {
        state.tables.write_back(self.file.file())?;
        if state.barrier && !state.freed.is_empty() {
            self.file.file().sync_data()?;
        }
        self.give_back(state)
    }

    /// Gives back the room of clusters that nothing in the file refers to any more.
    fn give_back(&self, state: &mut State) -> io::Result<()> {
        let State { refcounts, freed, .. } = state;
        freed.sort_unstable();
        while let Some(&first) = freed.first() {
            let count =
                freed.iter().zip(first..).take_while(|(cluster, expected)| *cluster == expected).count();
            freed.drain(..count);
            let mut unused: Vec<Range<u64>> = Vec::new();
            refcounts.release(self.file.file(), first, count as u64, |cluster| match unused.last_mut() {
                Some(run) if run.end == cluster => run.end += 1,
                _ => unused.push(cluster..cluster + 1),
            })?;
            for Range { start, end } in unused {
                self.file.discard(start << self.cluster_bits, (end - start) << self.cluster_bits)?;
            }
        }
        Ok(())
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        if let Err(error) = self.write_back() {
            log::error!("Cannot write {self:?} back: {error}");
        }
    }
}

impl State {
    /// Where `cluster` is; refused if that is not in the file, or where no data can be.
    fn mapping(&mut self, overlay: &Overlay, cluster: u64) -> io::Result<Mapping> {
        let mapping = self.tables.mapping(overlay.file.file(), cluster)?;
        match mapping.host() {
            Some(host) if !self.refcounts.holds(host) => Err(invalid("an entry of a table")),
            _ => Ok(mapping),
        }
    }
}

impl Mapping {
    /// The cluster of the file that belongs to it, as an offset.
    fn host(self) -> Option<u64> {
        match self {
            Mapping::Own(host) | Mapping::Shared(host) => Some(host),
            Mapping::Zero(host) => host,
            Mapping::Base => None,
        }
    }
}

/// Two writers would destroy the file, and no reader understands one that is being written.
fn lock(file: &File, read_only: bool) -> Result<(), OverlayFault> {
    let locked = if read_only { file.try_lock_shared() } else { file.try_lock() };
    locked.map_err(|error| match error {
        std::fs::TryLockError::WouldBlock => OverlayFault::InUse,
        std::fs::TryLockError::Error(error) => OverlayFault::Read(error),
    })
}

/// What the file says makes no sense.
fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
#[path = "overlay_tests.rs"]
mod tests;
