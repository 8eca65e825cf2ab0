//! What a drive's requests act on, and how they are carried out by system calls.

use super::request::{Extent, Operation, Refusal};
use crate::drive::RawDrive;
use crate::memory::GuestMemory;
use crate::virtio::io_vectors::IoVectors;

/// The unit of the protocol, whatever the file's own block size.
pub const SECTOR_SIZE: u64 = 512;
/// How many bytes of a drive's name the guest can read (virtio 1.2 section 5.2.6.1).
pub const SERIAL_SIZE: usize = 20;

/// What a drive's requests act on.
#[derive(Debug)]
pub struct Disk {
    /// Where the sectors are. Bytes behind the last whole one are out of the guest's reach.
    pub raw: RawDrive,
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
        self.raw.size() / SECTOR_SIZE
    }

    /// The offset in the file of `count` sectors from `sector` on, if there are some and they are the disk's.
    pub fn locate(&self, sector: u64, count: u64) -> Result<u64, Refusal> {
        match sector.checked_add(count) {
            Some(end) if count != 0 && end <= self.sectors() => Ok(sector * SECTOR_SIZE),
            _ => Err(Refusal::Invalid),
        }
    }

    /// Carries `operation` out; returns how many bytes of the guest's buffers it wrote. Zeros that had to be
    /// written one by one are added to `zeros`.
    pub fn execute(
        &self,
        memory: &GuestMemory,
        operation: &Operation<'_>,
        vectors: &mut IoVectors,
        zeros: &mut u64,
    ) -> Result<u64, Refusal> {
        vectors.clear();
        match operation {
            Operation::Read { offset, into } => {
                vectors.fill(*into).map_err(|_| Refusal::Invalid)?;
                vectors.read_exact_at(self.raw.file(), *offset)?;
                Ok(into.len())
            }
            Operation::Write { offset, from } => {
                vectors.fill(*from).map_err(|_| Refusal::Invalid)?;
                vectors.write_all_at(self.raw.file(), *offset)?;
                Ok(0)
            }
            Operation::Flush => {
                self.raw.file().sync_data()?;
                Ok(0)
            }
            Operation::Identify { into } => {
                into.write(memory, &self.serial).map_err(|_| Refusal::Invalid)?;
                Ok(SERIAL_SIZE as u64)
            }
            Operation::Discard(extents) => {
                extents.iter().try_for_each(|extent| self.raw.discard(extent.offset, extent.length))?;
                Ok(0)
            }
            Operation::WriteZeroes(extents) => {
                for Extent { offset, length, unmap } in extents {
                    *zeros += self.raw.zero(*offset, *length, *unmap)?;
                }
                Ok(0)
            }
        }
    }
}
