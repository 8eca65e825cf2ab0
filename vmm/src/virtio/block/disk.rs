//! What a drive's requests act on, and how they are carried out by system calls.

use std::fs::File;
use std::io;

use super::request::{Extent, Operation, Refusal, unmapped};
use crate::drive::{Medium, Transfer};
use crate::memory::GuestMemory;
use crate::virtio::io_vectors::IoVectors;
use crate::virtio::span::Span;

/// The unit of the protocol, whatever the file's own block size.
pub const SECTOR_SIZE: u64 = 512;
/// How many bytes of a drive's name the guest can read (virtio 1.2 section 5.2.6.1).
pub const SERIAL_SIZE: usize = 20;

/// What a drive's requests act on.
#[derive(Debug)]
pub struct Disk {
    /// Where the sectors are. Bytes behind the last whole one are out of the guest's reach.
    pub medium: Medium,
    /// Whether writes are refused.
    pub read_only: bool,
    /// Whether flushes are served.
    pub flush: bool,
    /// The drive's name, padded with zeros.
    pub serial: [u8; SERIAL_SIZE],
}

impl Disk {
    /// How many sectors it has.
    pub fn sectors(&self) -> u64 {
        self.medium.size() / SECTOR_SIZE
    }

    /// The offset in the file of `count` sectors from `sector` on, if there are some and they are the disk's.
    pub fn locate(&self, sector: u64, count: u64) -> Result<u64, Refusal> {
        match sector.checked_add(count) {
            Some(end) if count != 0 && end <= self.sectors() => Ok(sector * SECTOR_SIZE),
            _ => Err(Refusal::Invalid),
        }
    }

    /// Carries `operation` out; returns how many bytes of the guest's buffers it wrote. What it did beside
    /// moving its data is added to `cost`, as bytes.
    pub fn execute(
        &self,
        memory: &GuestMemory,
        operation: &Operation<'_>,
        vectors: &mut IoVectors,
        cost: &mut u64,
    ) -> Result<u64, Refusal> {
        vectors.clear();
        match operation {
            Operation::Read { offset, into } => {
                match &self.medium {
                    Medium::Raw(raw) => {
                        vectors.fill(*into).map_err(|_| Refusal::Invalid)?;
                        vectors.read_exact_at(raw.file(), *offset)?;
                    }
                    Medium::Overlay(overlay) => {
                        overlay.read(*offset, into.len(), &mut Data { vectors, rest: *into })?;
                    }
                }
                Ok(into.len())
            }
            Operation::Write { offset, from } => {
                match &self.medium {
                    Medium::Raw(raw) => {
                        vectors.fill(*from).map_err(|_| Refusal::Invalid)?;
                        vectors.write_all_at(raw.file(), *offset)?;
                    }
                    Medium::Overlay(overlay) => {
                        overlay.write(*offset, from.len(), &mut Data { vectors, rest: *from })?;
                    }
                }
                Ok(0)
            }
            Operation::Flush => {
                match &self.medium {
                    Medium::Raw(raw) => raw.file().sync_data()?,
                    Medium::Overlay(overlay) => overlay.flush()?,
                }
                Ok(0)
            }
            Operation::Identify { into } => {
                into.write(memory, &self.serial).map_err(|_| Refusal::Invalid)?;
                Ok(SERIAL_SIZE as u64)
            }
            Operation::Discard(extents) => {
                for Extent { offset, length, .. } in extents {
                    *cost += unmapped(*length);
                    match &self.medium {
                        Medium::Raw(raw) => raw.discard(*offset, *length)?,
                        Medium::Overlay(overlay) => overlay.discard(*offset, *length)?,
                    }
                }
                Ok(0)
            }
            Operation::WriteZeroes(extents) => {
                for Extent { offset, length, unmap } in extents {
                    *cost += unmapped(*length);
                    *cost += match &self.medium {
                        Medium::Raw(raw) => raw.zero(*offset, *length, *unmap)?,
                        Medium::Overlay(overlay) => overlay.zero(*offset, *length, *unmap)?,
                    };
                }
                Ok(0)
            }
        }
    }
}

/// The guest's buffers of a request, part by part.
struct Data<'a, 'b> {
    vectors: &'a mut IoVectors,
    rest: Span<'b>,
}

impl Data<'_, '_> {
    /// The vectors of the next `count` bytes.
    fn next(&mut self, count: u64) -> io::Result<&mut IoVectors> {
        let (now, later) = self.rest.split_at(count);
        self.rest = later;
        self.vectors.clear();
        self.vectors.fill(now).map_err(|_| io::ErrorKind::InvalidInput)?;
        Ok(self.vectors)
    }
}

impl Transfer for Data<'_, '_> {
    fn read(&mut self, file: &File, offset: u64, count: u64) -> io::Result<()> {
        self.next(count)?.read_exact_at(file, offset)
    }

    fn zeros(&mut self, count: u64) -> io::Result<()> {
        self.next(count)?.fill_zeros().map_err(|_| io::ErrorKind::InvalidInput.into())
    }

    fn write(&mut self, file: &File, offset: u64, count: u64) -> io::Result<()> {
        self.next(count)?.write_all_at(file, offset)
    }
}
