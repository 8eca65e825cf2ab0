//! One request of a drive: a header of 16 bytes, data, a status byte (virtio 1.2 section 5.2.6).

use std::io;

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH,
    VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES,
};
use vm_memory::{Bytes, GuestAddress};

use super::disk::{Disk, SECTOR_SIZE};
use crate::memory::GuestMemory;
use crate::virtio::chain::Chain;
use crate::virtio::device::NeedsReset;
use crate::virtio::span::Span;

const HEADER_SIZE: u64 = 16;
/// `struct virtio_blk_discard_write_zeroes`: sector, count, flags.
const EXTENT_SIZE: u64 = 16;
/// Give the room back (bit 0 of the flags); the other bits are reserved.
const UNMAP: u32 = 1;

/// The most extents of a discard, and sectors of each: 256 MiB, so that what one request gives back, and what the
/// host does for it before anybody else has a turn, is no more than 1 GiB.
pub const DISCARD_EXTENTS_MAX: u32 = 4;
/// See [`DISCARD_EXTENTS_MAX`].
pub const DISCARD_SECTORS_MAX: u32 = 1 << 19;
/// The most extents of a write of zeroes, and sectors of each: 16 MiB, since a host may have to write them.
pub const ZEROES_EXTENTS_MAX: u32 = 4;
/// See [`ZEROES_EXTENTS_MAX`].
pub const ZEROES_SECTORS_MAX: u32 = 1 << 15;

/// Why a request fails; the guest gets to know the difference of the last one only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is malformed, out of bounds or forbidden.
    Invalid,
    /// The host failed it.
    Failed,
    /// The device knows no such request.
    Unsupported,
}

impl From<io::Error> for Refusal {
    fn from(_: io::Error) -> Refusal {
        Refusal::Failed
    }
}

/// A part of the disk, in bytes; within its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where it starts.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
    /// Whether its room is given back.
    pub unmap: bool,
}

/// What is asked for, within the disk's bounds and permissions.
pub enum Operation<'a> {
    /// Whole sectors to memory.
    Read { offset: u64, into: Span<'a> },
    /// Memory to whole sectors.
    Write { offset: u64, from: Span<'a> },
    /// Make durable what was written.
    Flush,
    /// Tell the drive's name.
    Identify { into: Span<'a> },
    /// Nobody needs these any more.
    Discard(Vec<Extent>),
    /// Make these zero.
    WriteZeroes(Vec<Extent>),
}

/// [`Operation`] without its data, to be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Read,
    Write,
    Flush,
    Identify,
    Discard,
    WriteZeroes,
}

impl Kind {
    /// Whether it may be carried out by `io_uring`.
    pub fn may_fly(self) -> bool {
        matches!(self, Kind::Read | Kind::Write | Kind::Flush)
    }
}

impl<'a> Operation<'a> {
    /// Reads the request in `chain`. What the guest wrote is copied once, then checked.
    pub fn read(disk: &Disk, memory: &GuestMemory, chain: &'a Chain) -> Result<Operation<'a>, Refusal> {
        let (header, data) = chain.readable().split_at(HEADER_SIZE);
        let mut bytes = [0; HEADER_SIZE as usize];
        header.read(memory, &mut bytes).map_err(|_| Refusal::Invalid)?;
        let [t0, t1, t2, t3, _, _, _, _, sector @ ..] = bytes;
        let sector = u64::from_le_bytes(sector);
        let answer = chain.writable();
        let (answer, _status) = answer.split_at(answer.len().saturating_sub(1));
        match u32::from_le_bytes([t0, t1, t2, t3]) {
            VIRTIO_BLK_T_IN => Ok(Operation::Read { offset: locate(disk, sector, answer)?, into: answer }),
            VIRTIO_BLK_T_OUT | VIRTIO_BLK_T_DISCARD | VIRTIO_BLK_T_WRITE_ZEROES if disk.read_only => {
                Err(Refusal::Invalid)
            }
            VIRTIO_BLK_T_OUT => Ok(Operation::Write { offset: locate(disk, sector, data)?, from: data }),
            VIRTIO_BLK_T_FLUSH if disk.flush => Ok(Operation::Flush),
            VIRTIO_BLK_T_GET_ID => Ok(Operation::Identify { into: answer }),
            VIRTIO_BLK_T_DISCARD => {
                let most = (DISCARD_EXTENTS_MAX, DISCARD_SECTORS_MAX);
                Ok(Operation::Discard(extents(disk, memory, data, most, 0)?))
            }
            VIRTIO_BLK_T_WRITE_ZEROES => {
                let most = (ZEROES_EXTENTS_MAX, ZEROES_SECTORS_MAX);
                Ok(Operation::WriteZeroes(extents(disk, memory, data, most, UNMAP)?))
            }
            _ => Err(Refusal::Unsupported),
        }
    }

    /// Which one it is.
    pub fn kind(&self) -> Kind {
        match self {
            Operation::Read { .. } => Kind::Read,
            Operation::Write { .. } => Kind::Write,
            Operation::Flush => Kind::Flush,
            Operation::Identify { .. } => Kind::Identify,
            Operation::Discard(_) => Kind::Discard,
            Operation::WriteZeroes(_) => Kind::WriteZeroes,
        }
    }

    /// Whether it may keep the host busy for longer than reads and writes do.
    pub fn is_heavy(&self) -> bool {
        matches!(self, Operation::Discard(_) | Operation::WriteZeroes(_))
    }

    /// How many bytes it moves between memory and disk.
    pub fn length(&self) -> u64 {
        match self {
            Operation::Read { into: data, .. } | Operation::Write { from: data, .. } => data.len(),
            _ => 0,
        }
    }
}

/// Where in the file whole sectors for `data` are, from `sector` on.
fn locate(disk: &Disk, sector: u64, data: Span<'_>) -> Result<u64, Refusal> {
    if !data.len().is_multiple_of(SECTOR_SIZE) {
        return Err(Refusal::Invalid);
    }
    disk.locate(sector, data.len() / SECTOR_SIZE)
}

/// The extents in `data`: at most `most.0` of them, each of at most `most.1` sectors. Flags beyond `known` are
/// not supported (virtio 1.2 section 5.2.6.2).
fn extents(
    disk: &Disk,
    memory: &GuestMemory,
    data: Span<'_>,
    most: (u32, u32),
    known: u32,
) -> Result<Vec<Extent>, Refusal> {
    let count = data.len() / EXTENT_SIZE;
    if count == 0 || count > u64::from(most.0) || !data.len().is_multiple_of(EXTENT_SIZE) {
        return Err(Refusal::Invalid);
    }
    let mut extents = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(EXTENT_SIZE);
        let mut bytes = [0; EXTENT_SIZE as usize];
        now.read(memory, &mut bytes).map_err(|_| Refusal::Invalid)?;
        let [s0, s1, s2, s3, s4, s5, s6, s7, c0, c1, c2, c3, flags @ ..] = bytes;
        let (sector, count) =
            (u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]), u32::from_le_bytes([c0, c1, c2, c3]));
        let flags = u32::from_le_bytes(flags);
        if flags & !known != 0 {
            return Err(Refusal::Unsupported);
        }
        if count > most.1 {
            return Err(Refusal::Invalid);
        }
        let offset = disk.locate(sector, count.into())?;
        extents.push(Extent { offset, length: u64::from(count) * SECTOR_SIZE, unmap: flags & UNMAP != 0 });
        rest = later;
    }
    Ok(extents)
}

/// How many bytes a chain counts for its drive's limits: its data.
pub fn data_length(chain: &Chain) -> u64 {
    (chain.readable().len() + chain.writable().len()).saturating_sub(HEADER_SIZE + 1)
}

/// How many bytes a range that is given back counts for its drive's limits: a page for each MiB, for what the host
/// writes down of it.
pub fn unmapped(length: u64) -> u64 {
    length.div_ceil(1 << 20) << 12
}

/// How a request is answered. Plain data, so that it can wait for the request's end.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// The chain.
    pub head: u16,
    status: GuestAddress,
    /// How many bytes the guest has room for before the status.
    room: u64,
}

impl Answer {
    /// The way to answer `chain`. Without room for the status byte there is none, which breaks the device.
    pub fn of(chain: &Chain) -> Result<Answer, NeedsReset> {
        let writable = chain.writable();
        let room = writable.len().checked_sub(1).ok_or(NeedsReset)?;
        let (_, status) = writable.split_at(room);
        let status = status.pieces().next().ok_or(NeedsReset)?.address;
        Ok(Answer { head: chain.head(), status, room })
    }

    /// Writes the status; returns how many bytes of the chain were written. `outcome` is how many of them
    /// are data.
    pub fn give(&self, memory: &GuestMemory, outcome: Result<u64, Refusal>) -> Result<u32, NeedsReset> {
        let (code, written) = match outcome {
            Ok(written) => (VIRTIO_BLK_S_OK, written),
            Err(Refusal::Invalid | Refusal::Failed) => (VIRTIO_BLK_S_IOERR, 0),
            Err(Refusal::Unsupported) => (VIRTIO_BLK_S_UNSUPP, 0),
        };
        memory.write_slice(&code.to_le_bytes()[..1], self.status).map_err(|_| NeedsReset)?;
        // The length counts from the first byte on: the status byte is in it only when all data are.
        let whole = written == self.room;
        u32::try_from(written + u64::from(whole)).map_err(|_| NeedsReset)
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
