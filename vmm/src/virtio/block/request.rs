//! One request of a drive: a header of 16 bytes, data, a status byte (virtio 1.2 section 5.2.6).

use std::fs::File;
use std::io;

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID,
    VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
};

use super::device::SERIAL_SIZE;
use crate::memory::GuestMemory;
use crate::virtio::chain::Chain;
use crate::virtio::device::NeedsReset;
use crate::virtio::io_vectors::IoVectors;
use crate::virtio::span::Span;

/// The unit of the protocol, whatever the file's own block size.
pub const SECTOR_SIZE: u64 = 512;
const HEADER_SIZE: usize = 16;

/// What a drive's requests act on.
#[derive(Debug)]
pub struct Disk {
    /// Where the sectors are.
    pub file: File,
    /// How many there are.
    pub sectors: u64,
    /// Whether writes are refused.
    pub read_only: bool,
    /// Whether flushes are served.
    pub flush: bool,
    /// The drive's name, padded with zeros.
    pub serial: [u8; SERIAL_SIZE],
}

/// Why a request fails; the guest gets to know the difference.
enum Refusal {
    /// It is malformed, out of bounds, forbidden, or the file failed.
    Io,
    /// The device knows no such request.
    Unsupported,
}

impl<E: Into<io::Error>> From<E> for Refusal {
    fn from(_: E) -> Refusal {
        Refusal::Io
    }
}

/// Serves the request in `chain`; returns how many bytes were written to its buffers. A request without room
/// for the status byte cannot be answered and breaks the device.
pub fn serve(
    disk: &Disk,
    memory: &GuestMemory,
    chain: &Chain,
    vectors: &mut IoVectors,
) -> Result<u32, NeedsReset> {
    let writable = chain.writable();
    let data_length = writable.len().checked_sub(1).ok_or(NeedsReset)?;
    let (data, status) = writable.split_at(data_length);
    let (code, written) = match execute(disk, memory, chain.readable(), data, vectors) {
        Ok(written) => (VIRTIO_BLK_S_OK, written),
        Err(Refusal::Io) => (VIRTIO_BLK_S_IOERR, 0),
        Err(Refusal::Unsupported) => (VIRTIO_BLK_S_UNSUPP, 0),
    };
    status.write(memory, &code.to_le_bytes()[..1]).map_err(|_| NeedsReset)?;
    // The length counts from the first byte on: the status byte is in it only when all data are.
    let whole = written == data_length;
    u32::try_from(written + u64::from(whole)).map_err(|_| NeedsReset)
}

/// Does what the header says; returns how many bytes of `answer` it wrote.
fn execute(
    disk: &Disk,
    memory: &GuestMemory,
    request: Span<'_>,
    answer: Span<'_>,
    vectors: &mut IoVectors,
) -> Result<u64, Refusal> {
    let (header, data) = request.split_at(HEADER_SIZE as u64);
    let mut bytes = [0; HEADER_SIZE];
    header.read(memory, &mut bytes).map_err(|_| Refusal::Io)?;
    let [t0, t1, t2, t3, _, _, _, _, sector @ ..] = bytes;
    let sector = u64::from_le_bytes(sector);
    vectors.clear();
    match u32::from_le_bytes([t0, t1, t2, t3]) {
        VIRTIO_BLK_T_IN => {
            let offset = locate(disk, sector, answer.len())?;
            vectors.fill(answer).map_err(|_| Refusal::Io)?;
            vectors.read_exact_at(&disk.file, offset)?;
            Ok(answer.len())
        }
        VIRTIO_BLK_T_OUT if disk.read_only => Err(Refusal::Io),
        VIRTIO_BLK_T_OUT => {
            let offset = locate(disk, sector, data.len())?;
            vectors.fill(data).map_err(|_| Refusal::Io)?;
            vectors.write_all_at(&disk.file, offset)?;
            Ok(0)
        }
        VIRTIO_BLK_T_FLUSH if disk.flush => {
            disk.file.sync_data()?;
            Ok(0)
        }
        VIRTIO_BLK_T_GET_ID => {
            answer.write(memory, &disk.serial).map_err(|_| Refusal::Io)?;
            Ok(SERIAL_SIZE as u64)
        }
        _ => Err(Refusal::Unsupported),
    }
}

/// The offset in the file of `length` bytes from `sector` on, if they are whole sectors of the disk.
fn locate(disk: &Disk, sector: u64, length: u64) -> Result<u64, Refusal> {
    let count = length / SECTOR_SIZE;
    if count == 0 || !length.is_multiple_of(SECTOR_SIZE) {
        return Err(Refusal::Io);
    }
    match sector.checked_add(count) {
        Some(end) if end <= disk.sectors => Ok(sector * SECTOR_SIZE),
        _ => Err(Refusal::Io),
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
