//! What the persistent memory device does: requests that wait together are answered by one flush of the file.

use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, PoisonError};

use vm_memory::Bytes;

use crate::drive::RawDrive;
use crate::memory::GuestMemory;
use crate::metrics::PmemMetrics;
use crate::virtio::chain::{Chain, Segment};
use crate::virtio::device::{NeedsReset, Turn, Worker};
use crate::virtio::limiter::Limiter;
use crate::virtio::ring::Ring;

/// Virtio 1.2 section 5.19.6: the one type of request, and its two answers.
const FLUSH: u32 = 0;
const DONE: u32 = 0;
const FAILED: u32 = 1;
/// How many bytes a request and its answer are.
const WORD: usize = 4;

/// The file behind the memory.
pub struct Backing {
    /// Where the bytes are.
    pub raw: RawDrive,
    /// Whether there is nothing to flush.
    pub read_only: bool,
    /// What is counted.
    pub metrics: Arc<PmemMetrics>,
}

/// Serves the flushes of one device.
pub struct PmemWorker {
    flushes: Ring,
    backing: Arc<Backing>,
    limiter: Arc<Mutex<Limiter>>,
    /// The limiter's descriptor while that is waited for.
    waiting: Option<RawFd>,
    /// Requests that the next flush answers.
    batch: Vec<Request>,
}

/// A request that has been read. Plain data.
struct Request {
    head: u16,
    known: bool,
    /// Where the answer goes; nowhere, if the driver left no room for it.
    answer: [Option<Segment>; WORD],
    written: u32,
}

impl Request {
    fn read(memory: &GuestMemory, chain: &Chain) -> Result<Request, NeedsReset> {
        let mut kind = [0; WORD];
        let known = chain.readable().len() >= WORD as u64;
        if known {
            chain.readable().read(memory, &mut kind).map_err(|_| NeedsReset)?;
        }
        let known = known && u32::from_le_bytes(kind) == FLUSH;
        let (place, _) = chain.writable().split_at(WORD as u64);
        let mut answer = [None; WORD];
        let has_room = place.len() == WORD as u64;
        if has_room {
            // Four bytes have four pieces at most.
            answer.iter_mut().zip(place.pieces()).for_each(|(to, piece)| *to = Some(piece));
        }
        let written = if has_room { WORD as u32 } else { 0 };
        Ok(Request { head: chain.head(), known, answer, written })
    }

    /// Writes the answer.
    fn give(&self, memory: &GuestMemory, result: u32) -> Result<(), NeedsReset> {
        let word = result.to_le_bytes();
        let mut rest = word.as_slice();
        for piece in self.answer.iter().flatten() {
            let (now, later) = rest.split_at(rest.len().min(piece.length as usize));
            memory.write_slice(now, piece.address).map_err(|_| NeedsReset)?;
            rest = later;
        }
        Ok(())
    }
}

impl PmemWorker {
    /// A worker for the queue of flushes.
    pub fn new(flushes: Ring, backing: Arc<Backing>, limiter: Arc<Mutex<Limiter>>) -> PmemWorker {
        PmemWorker { flushes, backing, limiter, waiting: None, batch: Vec::new() }
    }

    fn turn(&mut self, limiter_fired: bool) -> Result<Turn, NeedsReset> {
        let (backing, limiter) = (Arc::clone(&self.backing), Arc::clone(&self.limiter));
        let mut limiter = limiter.lock().unwrap_or_else(PoisonError::into_inner);
        if limiter_fired {
            limiter.timer_fired();
            backing.metrics.rate_limiter_event_count.increment();
        }
        let waited = limiter.waiting();
        let turn = if waited { Ok(Turn::Done) } else { self.serve(&mut limiter) };
        if limiter.waiting() && !waited {
            backing.metrics.rate_limiter_throttled_events.increment();
        }
        self.waiting = limiter.waiting().then(|| limiter.descriptor());
        turn.inspect_err(|_| backing.metrics.event_fails.increment())
    }

    fn serve(&mut self, limiter: &mut Limiter) -> Result<Turn, NeedsReset> {
        let Backing { raw, read_only, metrics } = &*self.backing;
        let batch = &mut self.batch;
        batch.clear();
        let mut admitted = false;
        let turn = self.flushes.serve_admitted(
            |_| {
                admitted = admitted || limiter.pass(raw.size());
                admitted
            },
            |memory, chain| {
                batch.push(Request::read(memory, chain)?);
                Ok(None)
            },
        )?;
        if batch.is_empty() {
            return Ok(turn);
        }
        // Every request of the batch was there before this. Pages that the guest wrote through its mapping
        // are found dirty as if they had been written here.
        let flushed = *read_only || raw.file().sync_data().is_ok();
        metrics.flush_count.increment();
        for request in batch.drain(..) {
            let result = if flushed && request.known { DONE } else { FAILED };
            if result == FAILED || request.written == 0 {
                metrics.event_fails.increment();
            }
            request.give(self.flushes.memory(), result)?;
            self.flushes.push(request.head, request.written)?;
        }
        self.flushes.signal()?;
        Ok(turn)
    }
}

impl Worker for PmemWorker {
    fn descriptors(&self) -> Vec<(RawFd, u16)> {
        self.waiting.iter().map(|descriptor| (*descriptor, 0)).collect()
    }

    fn queue_notified(&mut self, _index: u16) -> Result<Turn, NeedsReset> {
        self.backing.metrics.queue_event_count.increment();
        self.turn(false)
    }

    fn descriptor_ready(&mut self, _token: u16) -> Result<Turn, NeedsReset> {
        self.turn(true)
    }
}

#[cfg(test)]
#[path = "pmem_tests.rs"]
mod tests;
