//! The way from the guest to a socket: what the host's program has not taken yet, and what the guest knows.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use crate::memory::GuestMemory;
use crate::virtio::io_vectors::IoVectors;
use crate::virtio::span::Span;

/// How much of what the guest sends is kept for a host's program that does not read.
pub const BUFFER_SIZE: u32 = 64 * 1024;

/// Why data cannot be passed on: the guest sent more than it may, or from where there is no memory, or the
/// host's program is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Undeliverable;

/// The data under way, and the counts of flow control (modulo 2^32, virtio 1.2 section 5.10.6.3).
#[derive(Debug, Default)]
pub struct Outlet {
    backlog: VecDeque<u8>,
    /// Bytes that the socket took, ever.
    forwarded: u32,
    /// What the guest knows of that.
    told: u32,
}

impl Outlet {
    /// Whether the socket took everything.
    pub fn is_empty(&self) -> bool {
        self.backlog.is_empty()
    }

    /// Whether the guest believes in much less room than there is.
    pub fn owes_update(&self) -> bool {
        self.forwarded.wrapping_sub(self.told) >= BUFFER_SIZE / 2
    }

    /// What to tell the guest, in the packet that is about to be sent.
    pub fn tell(&mut self) -> u32 {
        self.told = self.forwarded;
        self.forwarded
    }

    /// Writes `data` to the socket and keeps what that does not take.
    pub fn forward(
        &mut self,
        stream: &UnixStream,
        memory: &GuestMemory,
        data: Span<'_>,
        vectors: &mut IoVectors,
    ) -> Result<(), Undeliverable> {
        let length = usize::try_from(data.len()).map_err(|_| Undeliverable)?;
        let room = (BUFFER_SIZE as usize).saturating_sub(self.backlog.len());
        if length > room {
            return Err(Undeliverable);
        }
        let mut written = 0;
        if self.backlog.is_empty() && length != 0 {
            vectors.clear();
            vectors.fill(data).map_err(|_| Undeliverable)?;
            written = match vectors.write(stream.as_fd()) {
                Ok(count) => count,
                Err(error) if is_patience(&error) => 0,
                Err(_) => return Err(Undeliverable),
            };
            self.count(written);
        }
        let (_, rest) = data.split_at(written as u64);
        if !rest.is_empty() {
            let mut bytes = vec![0; length.saturating_sub(written)];
            rest.read(memory, &mut bytes).map_err(|_| Undeliverable)?;
            self.backlog.extend(bytes);
        }
        Ok(())
    }

    /// Gives the socket what it takes now.
    pub fn flush(&mut self, mut stream: &UnixStream) -> Result<(), Undeliverable> {
        while !self.backlog.is_empty() {
            let (front, _) = self.backlog.as_slices();
            match stream.write(front) {
                Ok(count) => {
                    self.backlog.drain(..count);
                    self.count(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return Err(Undeliverable),
            }
        }
        // An idle connection holds no memory.
        self.backlog = VecDeque::new();
        Ok(())
    }

    fn count(&mut self, count: usize) {
        self.forwarded = self.forwarded.wrapping_add(u32::try_from(count).unwrap_or(0));
    }
}

fn is_patience(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
