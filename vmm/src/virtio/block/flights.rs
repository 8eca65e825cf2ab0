//! Requests on their way through an engine: started in the order of the queue, ended in any.

#![allow(unsafe_code, reason = "hands guest memory to the kernel beyond a call; see each block")]

use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Instant;

use super::batch::Batch;
use super::disk::Disk;
use super::engine::{Command, Engine};
use super::request::{Answer, Kind, Operation, Refusal};
use crate::memory::GuestMemory;
use crate::virtio::io_vectors::IoVectors;

/// How often a request that the kernel could not take up is started again.
const RETRIES: u8 = 100;

/// What is in flight, and the engine that carries it.
pub struct Flights {
    /// There until the last flight has landed and [`Flights::end`] takes it.
    engine: Option<Engine>,
    memory: GuestMemory,
    /// By token. One that is in flight is not touched but by `next`.
    slots: Vec<Slot>,
    free: Vec<usize>,
    capacity: usize,
    /// How many bytes were started since the last submission.
    started: u64,
    /// By head: whether that chain is in flight.
    heads: Vec<bool>,
}

struct Slot {
    vectors: IoVectors,
    flight: Option<Flight>,
}

struct Flight {
    answer: Answer,
    /// Kept open until it lands, also when the drive has got another file meanwhile.
    disk: Arc<Disk>,
    kind: Kind,
    offset: u64,
    length: u64,
    /// Bytes that have not been moved yet.
    left: u64,
    retries: u8,
    started: Instant,
}

/// A request that has ended.
pub struct Landed {
    /// How it is to be answered.
    pub answer: Answer,
    /// What it was.
    pub kind: Kind,
    /// How many bytes it was to move.
    pub length: u64,
    /// When it was started.
    pub started: Instant,
    /// How many bytes of the guest's buffers were written, or why it failed.
    pub outcome: Result<u64, Refusal>,
}

impl Flights {
    /// Nothing in flight yet, with `engine`.
    pub fn new(engine: Engine, memory: GuestMemory) -> Flights {
        let capacity = engine.entries();
        Flights {
            engine: Some(engine),
            memory,
            slots: Vec::new(),
            free: Vec::new(),
            capacity,
            started: 0,
            heads: Vec::new(),
        }
    }

    /// Readable while flights have landed.
    pub fn descriptor(&self) -> Option<RawFd> {
        self.engine.as_ref().and_then(Engine::descriptor)
    }

    /// How many more can be started before one lands.
    pub fn room(&self) -> usize {
        self.free.len() + self.capacity.saturating_sub(self.slots.len())
    }

    /// Whether it is worth to start more before what was started is submitted.
    pub fn wants_more(&self) -> bool {
        let Some(Engine::Batch(_)) = &self.engine else { return true };
        self.room() != 0 && self.started < Batch::PORTION
    }

    /// Whether the chain `head` is in flight.
    pub fn holds(&self, head: u16) -> bool {
        self.heads.get(usize::from(head)).copied().unwrap_or(false)
    }

    fn mark(&mut self, head: u16, in_flight: bool) {
        let head = usize::from(head);
        if head >= self.heads.len() {
            self.heads.resize(head + 1, false);
        }
        if let Some(mark) = self.heads.get_mut(head) {
            *mark = in_flight;
        }
    }

    /// Starts a read, a write or a flush; the kernel hears of it with [`Flights::submit`].
    pub fn start(
        &mut self,
        disk: &Arc<Disk>,
        operation: &Operation<'_>,
        answer: Answer,
        started: Instant,
    ) -> Result<(), Refusal> {
        if self.free.is_empty() && self.slots.len() < self.capacity {
            self.free.push(self.slots.len());
            self.slots.push(Slot { vectors: IoVectors::new(self.memory.clone()), flight: None });
        }
        let index = *self.free.last().ok_or(Refusal::Failed)?;
        let slot = self.slots.get_mut(index).ok_or(Refusal::Failed)?;
        slot.vectors.clear();
        let (offset, data) = match operation {
            Operation::Read { offset, into } => (*offset, Some(into)),
            Operation::Write { offset, from } => (*offset, Some(from)),
            _ => (0, None),
        };
        data.map_or(Ok(()), |data| slot.vectors.fill(*data)).map_err(|_| Refusal::Invalid)?;
        let (kind, length) = (operation.kind(), operation.length());
        let disk = Arc::clone(disk);
        slot.flight = Some(Flight { answer, disk, kind, offset, length, left: length, retries: 0, started });
        if self.launch(index) {
            self.free.pop();
            self.started += length;
            self.mark(answer.head, true);
            return Ok(());
        }
        if let Some(slot) = self.slots.get_mut(index) {
            slot.flight = None;
        }
        Err(Refusal::Failed)
    }

    /// Queues what is left of a flight.
    fn launch(&mut self, index: usize) -> bool {
        let (Some(engine), Some(slot)) = (&mut self.engine, self.slots.get(index)) else { return false };
        let Some(flight) = &slot.flight else { return false };
        let vectors = slot.vectors.raw();
        let command = match flight.kind {
            Kind::Read => Command::Read { vectors, offset: flight.offset },
            Kind::Write => Command::Write { vectors, offset: flight.offset },
            _ => Command::Flush,
        };
        let Some(raw) = flight.disk.medium.raw() else { return false };
        let file = raw.file().as_raw_fd();
        // SAFETY: the flight keeps the file open; its slot keeps the vectors, and those the guest's memory,
        // into which nothing here holds references. The slot changes only in `next`, behind the completion;
        // `Flights` is not dropped before every flight has landed, or leaves the slots where they are.
        unsafe { engine.push(file, &command, index as u64) }
    }

    /// Whether something was started, or started again, of which the kernel does not know yet.
    pub fn queued(&self) -> bool {
        self.engine.as_ref().is_some_and(Engine::queued)
    }

    /// Tells the kernel what was started. False when it could not take everything: to be called again.
    pub fn submit(&mut self) -> std::io::Result<bool> {
        self.started = 0;
        self.engine.as_mut().map_or(Ok(true), Engine::submit)
    }

    /// A flight that has landed. What was moved in part only is started again for the rest.
    pub fn next(&mut self) -> Option<Landed> {
        loop {
            let (token, result) = self.engine.as_mut()?.next()?;
            let index = usize::try_from(token).unwrap_or(usize::MAX);
            let Some(outcome) = self.arrive(index, result) else {
                if self.launch(index) {
                    continue;
                }
                return self.land(index, Err(Refusal::Failed));
            };
            return self.land(index, outcome);
        }
    }

    /// Takes in a completion; None if the flight goes on.
    fn arrive(&mut self, index: usize, result: i32) -> Option<Result<u64, Refusal>> {
        let slot = self.slots.get_mut(index)?;
        let flight = slot.flight.as_mut()?;
        let Ok(moved) = u64::try_from(result) else {
            flight.retries = flight.retries.saturating_add(1);
            let again = matches!(-result, libc::EINTR | libc::EAGAIN) && flight.retries < RETRIES;
            return if again { None } else { Some(Err(Refusal::Failed)) };
        };
        if flight.kind == Kind::Read {
            slot.vectors.mark_written(usize::try_from(moved).unwrap_or(usize::MAX));
        }
        flight.left = flight.left.saturating_sub(moved);
        if flight.left == 0 {
            return Some(Ok(if flight.kind == Kind::Read { flight.length } else { 0 }));
        }
        if moved == 0 {
            // The end of a file that has shrunk.
            return Some(Err(Refusal::Failed));
        }
        flight.offset += moved;
        slot.vectors.consume(usize::try_from(moved).unwrap_or(usize::MAX));
        None
    }

    fn land(&mut self, index: usize, outcome: Result<u64, Refusal>) -> Option<Landed> {
        let Flight { answer, kind, length, started, .. } = self.slots.get_mut(index)?.flight.take()?;
        self.free.push(index);
        self.mark(answer.head, false);
        Some(Landed { answer, kind, length, started, outcome })
    }

    /// Waits until nothing is in flight any more, whatever comes of it, and gives the engine back. None when
    /// the kernel does not tell: then what may still be in flight stays as it is for ever.
    pub fn end(&mut self) -> Option<Engine> {
        let mut engine = self.engine.take()?;
        let mut flying = self.slots.iter().filter(|slot| slot.flight.is_some()).count();
        while flying > 0 {
            if engine.wait().is_err() {
                std::mem::forget(std::mem::take(&mut self.slots));
                return None;
            }
            while engine.next().is_some() {
                flying = flying.saturating_sub(1);
            }
        }
        self.slots.clear();
        self.free.clear();
        Some(engine)
    }
}

impl Drop for Flights {
    fn drop(&mut self) {
        self.end();
    }
}
