//! The receive queue: buffers of the driver, gathered until the longest frame fits, and frames read into them.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;

use vm_memory::{Bytes, GuestAddress};

use super::HEADER_SIZE;
use crate::virtio::chain::Chain;
use crate::virtio::device::NeedsReset;
use crate::virtio::io_vectors::{IoVectors, VECTORS_MAX};
use crate::virtio::ring::Ring;

/// Where in the header the number of merged buffers is (virtio 1.2 section 5.1.6).
const BUFFER_COUNT_OFFSET: u64 = 10;

/// What came of an attempt to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// A frame, of so many bytes with its header.
    Frame(u64),
    /// No frame waits.
    NoFrame,
    /// No room: the driver must give buffers first.
    NoRoom,
    /// A frame waits that is longer than anything the driver has given: it must be passed over.
    TooLong,
    /// The host's end is gone.
    Dead,
}

/// A chain that is taken from the ring and not yet used.
struct Gathered {
    head: u16,
    bytes: u64,
    vectors: usize,
    /// Where the two bytes of the number of merged buffers go, if the chain is a frame's first.
    count_at: [GuestAddress; 2],
}

/// The receive queue. A snapshot finds the gathered chains in the ring again when it goes back by their number.
pub struct Receive {
    ring: Ring,
    frame_max: u64,
    mergeable: bool,
    vectors: IoVectors,
    chains: VecDeque<Gathered>,
    room: u64,
}

impl Receive {
    /// Receives frames of up to `frame_max` bytes, header included; into several chains when `mergeable`.
    pub fn new(ring: Ring, frame_max: u64, mergeable: bool) -> Receive {
        let vectors = IoVectors::new(ring.memory().clone());
        Receive { ring, frame_max, mergeable, vectors, chains: VecDeque::new(), room: 0 }
    }

    /// Receives a frame from `tap`, which does not wait. The driver sees it after [`Receive::signal`].
    pub fn receive(&mut self, tap: BorrowedFd<'_>) -> Result<Progress, NeedsReset> {
        if !self.gather()? {
            return Ok(Progress::NoRoom);
        }
        match self.vectors.read(tap) {
            // A tap never reads as empty.
            Ok(0) => Ok(Progress::Dead),
            Ok(length) => self.finish(length as u64).map(|()| Progress::Frame(length as u64)),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(Progress::NoFrame),
                _ => Ok(Progress::Dead),
            },
        }
    }

    /// Receives `frame`, which has no header yet.
    pub fn deliver(&mut self, frame: &[u8]) -> Result<Progress, NeedsReset> {
        if !self.gather()? {
            return Ok(Progress::NoRoom);
        }
        let length = HEADER_SIZE + frame.len() as u64;
        let room =
            if self.mergeable { self.room } else { self.chains.front().map_or(0, |chain| chain.bytes) };
        if length > room {
            return Ok(Progress::TooLong);
        }
        // A header of zeros asks the driver for nothing.
        self.vectors.copy_from(&[0; HEADER_SIZE as usize], 0).map_err(|_| NeedsReset)?;
        self.vectors.copy_from(frame, HEADER_SIZE as usize).map_err(|_| NeedsReset)?;
        self.finish(length).map(|()| Progress::Frame(length))
    }

    /// Shows the driver what was received, and interrupts it if it wants that.
    pub fn signal(&mut self) -> Result<(), NeedsReset> {
        self.ring.signal()
    }

    /// Asks the driver not to notify of buffers: there are enough.
    pub fn hush(&mut self) -> Result<(), NeedsReset> {
        self.ring.hush()
    }

    /// Asks the driver to notify of buffers; true if some came meanwhile.
    pub fn listen(&mut self) -> Result<bool, NeedsReset> {
        self.ring.listen()
    }

    /// Takes chains until the longest frame fits, or the driver's whole ring is taken.
    fn gather(&mut self) -> Result<bool, NeedsReset> {
        let enough = |this: &Receive| match this.mergeable {
            true => {
                this.room >= this.frame_max
                    || this.chains.len() >= usize::from(this.ring.size())
                    || this.vectors.len() >= VECTORS_MAX
            }
            // The frame gets one chain, long enough or not; what does not fit is cut off.
            false => true,
        };
        while self.chains.is_empty() || !enough(self) {
            if !self.ring.pop()? {
                return Ok(false);
            }
            let gathered = gather_chain(self.ring.chain(), &mut self.vectors)?;
            self.room += gathered.bytes;
            self.chains.push_back(gathered);
        }
        Ok(true)
    }

    /// Returns the chains that a frame of `length` bytes fills.
    fn finish(&mut self, length: u64) -> Result<(), NeedsReset> {
        let (mut left, mut count, mut vectors) = (length, 0_u16, 0);
        let mut count_at = None;
        while left != 0 {
            let chain = self.chains.pop_front().ok_or(NeedsReset)?;
            let written = left.min(chain.bytes);
            let length = u32::try_from(written).map_err(|_| NeedsReset)?;
            self.ring.push(chain.head, length)?;
            count_at.get_or_insert(chain.count_at);
            self.room -= chain.bytes;
            left -= written;
            vectors += chain.vectors;
            count += 1;
        }
        self.vectors.drop_front(vectors);
        for (address, byte) in count_at.into_iter().flatten().zip(count.to_le_bytes()) {
            self.ring.memory().write_obj(byte, address).map_err(|_| NeedsReset)?;
        }
        Ok(())
    }
}

/// Notes a chain's buffers.
fn gather_chain(chain: &Chain, vectors: &mut IoVectors) -> Result<Gathered, NeedsReset> {
    let span = chain.writable();
    if span.len() < HEADER_SIZE {
        return Err(NeedsReset);
    }
    let before = vectors.len();
    vectors.fill(span).map_err(|_| NeedsReset)?;
    let (_, tail) = span.split_at(BUFFER_COUNT_OFFSET);
    let mut bytes = tail.pieces().flat_map(|piece| {
        (0..u64::from(piece.length).min(2)).map(move |index| GuestAddress(piece.address.0 + index))
    });
    let count_at = [bytes.next().ok_or(NeedsReset)?, bytes.next().ok_or(NeedsReset)?];
    Ok(Gathered { head: chain.head(), bytes: span.len(), vectors: vectors.len() - before, count_at })
}
