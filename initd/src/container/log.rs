//! A container's output: the last megabyte of it, for any number of readers, early or late, fast or slow.
//!
//! Nobody waits for a reader. Who is too slow goes on with the oldest bytes that are kept, and sees the gap
//! in the sequence numbers.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bulkhead_protocol::agent::{LOG_BYTES, MAX_LOG_FRAME};
use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::watch;

/// The most pieces that are kept, so that a program that writes single bytes to both streams in turn costs no
/// more memory than any other.
const MAX_RECORDS: usize = 16_384;

/// The length of a frame's header, in bytes.
pub const HEADER: usize = 16;

/// Which of a process's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out = 1,
    /// Standard error.
    Err = 2,
}

/// What a reader finds.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Bytes of one stream, the first of which has this sequence number.
    Piece(Stream, u64, Bytes),
    /// Nothing yet.
    Nothing,
    /// Nothing ever more.
    End,
}

/// A container's log.
#[derive(Debug)]
pub struct Log {
    ring: Mutex<Ring>,
    /// Counts changes, to wake readers.
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Ring {
    bytes: VecDeque<u8>,
    records: VecDeque<Record>,
    /// The sequence number of the next byte.
    next: u64,
    ended: bool,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    start: u64,
    length: usize,
    stream: Stream,
}

impl Log {
    /// An empty log.
    pub fn new() -> Self {
        Self { ring: Mutex::default(), changes: watch::Sender::new(0) }
    }

    /// Adds what a container has written.
    pub fn append(&self, stream: Stream, bytes: &[u8]) {
        self.ring().append(stream, bytes);
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Nothing more will come.
    pub fn end(&self) {
        self.ring().ended = true;
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// The first piece at or after the sequence number `since`.
    pub fn read(&self, since: u64) -> Next {
        self.ring().read(since)
    }

    /// Tells of changes after this call.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Returns when nothing more will come.
    pub async fn ended(&self) {
        let mut changes = self.watch();
        while !self.ring().ended {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn append(&mut self, stream: Stream, bytes: &[u8]) {
        let dropped = bytes.len().saturating_sub(LOG_BYTES);
        self.next += dropped as u64;
        for piece in bytes[dropped..].chunks(MAX_LOG_FRAME) {
            self.append_piece(stream, piece);
        }
        while self.bytes.len() > LOG_BYTES || self.records.len() > MAX_RECORDS {
            self.drop_oldest();
        }
    }

    fn append_piece(&mut self, stream: Stream, piece: &[u8]) {
        let start = self.next;
        let joins = |last: &&mut Record| {
            last.stream == stream
                && last.start + last.length as u64 == start
                && last.length + piece.len() <= MAX_LOG_FRAME
        };
        match self.records.back_mut().filter(joins) {
            Some(last) => last.length += piece.len(),
            None => self.records.push_back(Record { start, length: piece.len(), stream }),
        }
        self.bytes.extend(piece);
        self.next += piece.len() as u64;
    }

    /// Drops as much of the oldest record as is too much, or all of it where there are too many.
    fn drop_oldest(&mut self) {
        let too_many = self.records.len() > MAX_RECORDS;
        let excess = self.bytes.len().saturating_sub(LOG_BYTES);
        let Some(oldest) = self.records.front_mut() else { return };
        let count = if too_many { oldest.length } else { excess.min(oldest.length) };
        oldest.start += count as u64;
        oldest.length -= count;
        if oldest.length == 0 {
            self.records.pop_front();
        }
        self.bytes.drain(..count);
    }

    fn read(&self, since: u64) -> Next {
        let index = self.records.partition_point(|record| record.start + record.length as u64 <= since);
        let (Some(record), Some(first)) = (self.records.get(index), self.records.front()) else {
            return if self.ended { Next::End } else { Next::Nothing };
        };
        let from = since.max(record.start);
        let skip = usize::try_from(from - record.start).unwrap_or(0);
        // What lies before a record in `bytes` is the records before it: gaps are only at the front.
        let before = usize::try_from(record.start - first.start).unwrap_or(0);
        let mut piece = BytesMut::with_capacity(record.length - skip);
        let (head, tail) = self.bytes.as_slices();
        let (start, end) = (before + skip, before + record.length);
        piece.put_slice(head.get(start..end.min(head.len())).unwrap_or(&[]));
        let offset = |at: usize| at.saturating_sub(head.len());
        piece.put_slice(tail.get(offset(start)..offset(end)).unwrap_or(&[]));
        Next::Piece(record.stream, from, piece.freeze())
    }
}

/// A frame as it goes to a reader; the protocol's `agent` module describes it.
pub fn frame(stream: Stream, sequence: u64, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEADER + payload.len());
    frame.put_slice(&[stream as u8, 0, 0, 0]);
    frame.put_u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
    frame.put_u64(sequence);
    frame.put_slice(payload);
    frame.freeze()
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
