//! passt: frames over a Unix stream socket, each behind its length (4 bytes, the most significant first).
//!
//! Frames that are sent are gathered and written together; what arrives is read as much as there is. Both
//! buffers are made once. Whoever is at the other end is trusted to be alive, not more: a length that cannot be,
//! an end, an error, and the interface is without a host; the guest notices only that nothing comes.
//!
//! passt connects to wherever a guest sends, as a process of the host, and that of 2023 does so for the host's
//! loopback addresses too: what is sent there goes nowhere.

use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use thiserror::Error;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use crate::unix_socket;

/// The longest frame: 65,535 bytes of packet behind an Ethernet header with a tag (IEEE 802.1Q).
pub const FRAME_MAX: usize = 65_535 + 18;
/// The shortest: an Ethernet header.
const FRAME_MIN: usize = 14;
/// The length before each frame.
const PREFIX: usize = 4;
/// How much is kept each way; a frame of the longest kind, and as much again for others to travel with it.
const BUFFER_SIZE: usize = 2 * (PREFIX + FRAME_MAX);

/// Why there is no passt.
#[derive(Debug, Error)]
pub enum PasstError {
    /// Nobody listens.
    #[error("Cannot connect to passt at {path}")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The socket cannot be waited for.
    #[error("Cannot wait for passt at {path}")]
    Wait {
        /// The socket.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// It has gone, or has sent what is no frame. Told once; after that nothing comes and nothing is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost;

/// Where a frame went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// To passt, with the next [`Passt::flush`].
    Away,
    /// Nowhere: there is no passt, or the frame is for the host's loopback.
    Nowhere,
}

/// A connection to passt; never waits.
pub struct Passt {
    path: PathBuf,
    stream: UnixStream,
    /// Readable when the stream takes more.
    writable: Epoll,
    inbox: Buffer,
    outbox: Buffer,
    lost: bool,
}

/// Bytes under way: those of `filled` are there.
struct Buffer {
    bytes: Box<[u8]>,
    filled: Range<usize>,
}

impl Passt {
    /// Connects to the socket at `path`.
    pub fn connect(path: &Path) -> Result<Passt, PasstError> {
        let stream = unix_socket::connect(path)
            .map_err(|source| PasstError::Connect { path: path.to_owned(), source })?;
        Passt::over(stream, path).map_err(|source| PasstError::Wait { path: path.to_owned(), source })
    }

    /// Over a stream that does not wait.
    pub(super) fn over(stream: UnixStream, path: &Path) -> io::Result<Passt> {
        let writable = Epoll::new()?;
        let event = EpollEvent::new(EventSet::OUT, 0);
        writable.ctl(ControlOperation::Add, stream.as_raw_fd(), event)?;
        let (inbox, outbox) = (Buffer::new(), Buffer::new());
        Ok(Passt { path: path.to_owned(), stream, writable, inbox, outbox, lost: false })
    }

    /// What becomes readable with the next frame; None when none will come.
    pub fn frames(&self) -> Option<RawFd> {
        (!self.lost).then(|| self.stream.as_raw_fd())
    }

    /// What becomes readable when passt takes more; None while nothing waits for that.
    pub fn room(&self) -> Option<RawFd> {
        (!self.lost && !self.outbox.filled.is_empty()).then(|| self.writable.as_raw_fd())
    }

    /// The next frame that has arrived as a whole; the same again until [`Passt::taken`].
    pub fn frame(&mut self) -> Result<Option<&[u8]>, Lost> {
        if self.lost {
            return Ok(None);
        }
        let found = loop {
            if let Some(found) = self.whole()? {
                break found;
            }
            if !self.fill()? {
                return Ok(None);
            }
        };
        Ok(self.inbox.bytes.get(found))
    }

    /// The guest has that frame, or does without it.
    pub fn taken(&mut self) {
        if let Ok(Some(Range { end, .. })) = self.whole() {
            self.inbox.filled.start = end;
        }
    }

    /// Whether the longest frame can be sent now.
    pub fn has_room(&mut self) -> bool {
        if self.outbox.room() < PREFIX + FRAME_MAX {
            self.flush();
        }
        self.outbox.room() >= PREFIX + FRAME_MAX
    }

    /// Sends a frame of `length` bytes, which `write` puts in its place, with the next [`Passt::flush`]. Without room,
    /// or without passt, it is lost.
    pub fn send<E>(
        &mut self,
        length: usize,
        write: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Sent, E> {
        let whole = PREFIX.saturating_add(length);
        let place = self.outbox.free(whole).and_then(|free| free.get_mut(..whole));
        let Some(place) = place.filter(|_| !self.lost) else { return Ok(Sent::Nowhere) };
        let (front, frame) = place.split_at_mut(PREFIX);
        let prefix = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        front.copy_from_slice(&prefix);
        write(frame)?;
        if is_for_the_loopback(frame) {
            return Ok(Sent::Nowhere);
        }
        self.outbox.filled.end += whole;
        Ok(Sent::Away)
    }

    /// Writes what is gathered, as far as passt takes it now.
    pub fn flush(&mut self) {
        while !self.lost && !self.outbox.filled.is_empty() {
            let bytes = self.outbox.bytes.get(self.outbox.filled.clone()).unwrap_or_default();
            match self.stream.write(bytes) {
                Ok(count) => self.outbox.filled.start += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.lose(&error.to_string());
                }
            }
        }
    }

    /// Where the next whole frame is in the inbox.
    fn whole(&mut self) -> Result<Option<Range<usize>>, Lost> {
        let Range { start, end } = self.inbox.filled;
        let Some(prefix) = self.inbox.bytes.get(start..end).and_then(<[u8]>::first_chunk) else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*prefix) as usize;
        if !(FRAME_MIN..=FRAME_MAX).contains(&length) {
            return Err(self.lose(&format!("it sent a frame of {length} bytes")));
        }
        let frame = start + PREFIX..start + PREFIX + length;
        Ok((frame.end <= end).then_some(frame))
    }

    /// Reads what has arrived; false if that is nothing.
    fn fill(&mut self) -> Result<bool, Lost> {
        loop {
            // What is there is less than a frame, so that there is room.
            let room = self.inbox.free(PREFIX + FRAME_MAX).unwrap_or_default();
            match self.stream.read(room) {
                Ok(0) => return Err(self.lose("it has ended")),
                Ok(count) => {
                    self.inbox.filled.end += count;
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.lose(&error.to_string())),
            }
        }
    }

    /// From here on there is no passt.
    fn lose(&mut self, why: &str) -> Lost {
        log::warn!("The interface at {} has no host any more: {why}", self.path.display());
        self.lost = true;
        self.outbox.filled = 0..0;
        Lost
    }
}

impl Buffer {
    fn new() -> Buffer {
        Buffer { bytes: vec![0; BUFFER_SIZE].into_boxed_slice(), filled: 0..0 }
    }

    /// How many bytes more it takes.
    fn room(&self) -> usize {
        self.bytes.len() - self.filled.len()
    }

    /// Where what comes next goes: all that is free, in one piece of at least `wanted` bytes.
    fn free(&mut self, wanted: usize) -> Option<&mut [u8]> {
        if self.filled.is_empty() {
            self.filled = 0..0;
        } else if self.bytes.len() - self.filled.end < wanted {
            let length = self.filled.len();
            self.bytes.copy_within(self.filled.clone(), 0);
            self.filled = 0..length;
        }
        self.bytes.get_mut(self.filled.end..).filter(|free| free.len() >= wanted)
    }
}

/// Whether a frame goes to an address that means the sender's own machine: of IPv4 127.0.0.0/8 and 0.0.0.0/8, of
/// IPv6 all that starts with 80 zeros (the loopback, the unspecified one, those that stand for IPv4's).
fn is_for_the_loopback(frame: &[u8]) -> bool {
    match (frame.get(12..14), frame.get(FRAME_MIN..)) {
        (Some([0x08, 0x00]), Some(packet)) => packet.get(16).is_some_and(|first| matches!(first, 0 | 127)),
        (Some([0x86, 0xdd]), Some(packet)) => {
            packet.get(24..34).is_some_and(|front| front.iter().all(|byte| *byte == 0))
        }
        _ => false,
    }
}

#[cfg(test)]
#[path = "passt_tests.rs"]
mod tests;
