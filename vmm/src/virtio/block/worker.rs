//! What the block device does with its queue: requests are taken in order and carried out at once, or taken
//! along in flight and answered when they land.

use std::cell::Cell;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Instant;

use super::flights::Flights;
use super::request::{Answer, Kind, Operation, Refusal, data_length};
use super::state::{Shared, State};
use crate::metrics::BlockMetrics;
use crate::virtio::device::{NeedsReset, Turn, Worker};
use crate::virtio::io_vectors::IoVectors;
use crate::virtio::limiter::Limiter;
use crate::virtio::ring::Ring;

/// Tokens of the descriptors.
const LIMITER: u16 = 0;
const LANDED: u16 = 1;
/// How often one turn looks for flights that have landed while others were started.
const ROUNDS: u32 = 8;

/// Serves a drive's requests.
pub struct BlockWorker {
    requests: Ring,
    vectors: IoVectors,
    /// With `io_uring` only: reads, writes and flushes on their way.
    flights: Option<Flights>,
    shared: Arc<Shared>,
    /// What to listen to.
    descriptors: Vec<(RawFd, u16)>,
}

impl BlockWorker {
    /// A worker for the queue of requests.
    pub fn new(requests: Ring, flights: Option<Flights>, shared: Arc<Shared>) -> BlockWorker {
        let vectors = IoVectors::new(requests.memory().clone());
        let mut worker = BlockWorker { requests, vectors, flights, shared, descriptors: Vec::new() };
        worker.listen(None);
        worker
    }

    /// Listens to the ring, and to the limiter while that is waited for.
    fn listen(&mut self, limiter: Option<RawFd>) {
        self.descriptors.clear();
        self.descriptors.extend(limiter.map(|descriptor| (descriptor, LIMITER)));
        let ring = self.flights.as_ref().and_then(Flights::descriptor);
        self.descriptors.extend(ring.map(|descriptor| (descriptor, LANDED)));
    }

    fn turn(&mut self, limiter_fired: bool) -> Result<Turn, NeedsReset> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        if limiter_fired {
            state.limiter.timer_fired();
            shared.metrics.rate_limiter_event_count.increment();
        }
        let waited = state.limiter.waiting();
        let turn = self.rounds(&mut state).inspect_err(|_| shared.metrics.event_fails.increment());
        let waiting = state.limiter.waiting();
        if waiting && !waited {
            shared.metrics.rate_limiter_throttled_events.increment();
        }
        self.listen(waiting.then(|| state.limiter.descriptor()));
        turn
    }

    /// Takes in what has landed and starts what waits, until neither is left.
    fn rounds(&mut self, state: &mut State) -> Result<Turn, NeedsReset> {
        let mut turn = Turn::Done;
        for round in 0..ROUNDS {
            if !self.answer_landed()? && round != 0 {
                return Ok(turn);
            }
            if !state.limiter.waiting() {
                turn = self.serve(state)?;
            }
            let Some(flights) = &mut self.flights else { return Ok(turn) };
            if !flights.submit().map_err(|_| NeedsReset)? {
                return Ok(Turn::More);
            }
        }
        Ok(Turn::More)
    }

    /// Answers every flight that has landed; tells whether there was one, or one that goes on.
    fn answer_landed(&mut self) -> Result<bool, NeedsReset> {
        let Some(flights) = &mut self.flights else { return Ok(false) };
        let mut any = false;
        while let Some(landed) = flights.next() {
            count(&self.shared.metrics, landed.kind, landed.length, landed.outcome, landed.started);
            let written = landed.answer.give(self.requests.memory(), landed.outcome)?;
            self.requests.push(landed.answer.head, written)?;
            any = true;
        }
        if any {
            self.requests.signal()?;
        }
        Ok(any || self.flights.as_ref().is_some_and(Flights::queued))
    }

    /// Takes requests from the queue as far as limits and flights have room.
    fn serve(&mut self, state: &mut State) -> Result<Turn, NeedsReset> {
        let State { disk, limiter, .. } = state;
        let metrics = &*self.shared.metrics;
        let (vectors, flights) = (&mut self.vectors, &mut self.flights);
        let room = Cell::new(flights.as_ref().map_or(usize::MAX, Flights::room));
        let mut zeros = 0;
        let turn = self.requests.serve_admitted(
            |chain| admit(limiter, &room, data_length(chain), metrics),
            |memory, chain| {
                if flights.as_ref().is_some_and(|flights| flights.holds(chain.head())) {
                    return Err(NeedsReset);
                }
                let started = Instant::now();
                let answer = Answer::of(chain)?;
                let operation = match Operation::read(disk, memory, chain) {
                    Ok(operation) => operation,
                    Err(refusal) => {
                        count_refused(metrics, refusal);
                        return answer.give(memory, Err(refusal)).map(Some);
                    }
                };
                let (kind, length) = (operation.kind(), operation.length());
                let outcome = match flights {
                    Some(flights) if kind.may_fly() => {
                        match flights.start(disk, &operation, answer, started) {
                            Ok(()) => {
                                room.set(flights.room());
                                return Ok(None);
                            }
                            Err(refusal) => Err(refusal),
                        }
                    }
                    _ => disk.execute(memory, &operation, vectors, &mut zeros),
                };
                count(metrics, kind, length, outcome, started);
                answer.give(memory, outcome).map(Some)
            },
        );
        // Zeros that had to be written are as dear as data.
        limiter.charge(zeros);
        turn
    }
}

/// Whether a request of `bytes` may be taken now.
fn admit(limiter: &mut Limiter, room: &Cell<usize>, bytes: u64, metrics: &BlockMetrics) -> bool {
    if room.get() == 0 {
        metrics.io_engine_throttled_events.increment();
        return false;
    }
    limiter.pass(bytes)
}

/// Counts a request that has ended.
fn count(metrics: &BlockMetrics, kind: Kind, length: u64, outcome: Result<u64, Refusal>, started: Instant) {
    if let Err(refusal) = outcome {
        return count_refused(metrics, refusal);
    }
    match kind {
        Kind::Read => {
            metrics.read_count.increment();
            metrics.read_bytes.add(length);
            metrics.read_agg.record(started.elapsed());
        }
        Kind::Write => {
            metrics.write_count.increment();
            metrics.write_bytes.add(length);
            metrics.write_agg.record(started.elapsed());
        }
        Kind::Flush => metrics.flush_count.increment(),
        Kind::Discard => metrics.discard_count.increment(),
        Kind::WriteZeroes => metrics.write_zeroes_count.increment(),
        Kind::Identify => {}
    }
}

fn count_refused(metrics: &BlockMetrics, refusal: Refusal) {
    match refusal {
        Refusal::Invalid | Refusal::Unsupported => metrics.invalid_reqs_count.increment(),
        Refusal::Failed => metrics.execute_fails.increment(),
    }
}

impl Worker for BlockWorker {
    fn descriptors(&self) -> Vec<(RawFd, u16)> {
        self.descriptors.clone()
    }

    fn queue_notified(&mut self, _index: u16) -> Result<Turn, NeedsReset> {
        self.shared.metrics.queue_event_count.increment();
        self.turn(false)
    }

    fn descriptor_ready(&mut self, token: u16) -> Result<Turn, NeedsReset> {
        self.turn(token == LIMITER)
    }
}

impl Drop for BlockWorker {
    fn drop(&mut self) {
        // First nothing touches the guest's memory any more, then the ring is the next worker's.
        let ring = self.flights.take().and_then(|mut flights| flights.end());
        let mut state = self.shared.state();
        state.ring = ring;
        state.interrupt = None;
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
