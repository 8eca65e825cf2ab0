//! What the block device does with a queue: requests are taken in order, carried out or started together, and
//! answered as they end.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::flights::Flights;
use super::request::{Answer, Kind, Operation, Refusal, data_length};
use super::state::{Shared, State};
use crate::metrics::BlockMetrics;
use crate::virtio::device::{NeedsReset, Turn, Worker};
use crate::virtio::io_vectors::IoVectors;
use crate::virtio::ring::Ring;

/// Tokens of the descriptors.
const LIMITER: u16 = 0;
const LANDED: u16 = 1;
/// How many requests one turn takes, and how often it looks for what has landed meanwhile.
const TURN_LENGTH: u32 = 512;
const ROUNDS: u32 = 64;
/// How many requests that are carried out one by one are answered together.
const GROUP_LENGTH: u32 = 16;

/// Serves the requests of one of a drive's queues.
pub struct BlockWorker {
    index: usize,
    requests: Ring,
    vectors: IoVectors,
    /// Reads, writes and flushes on their way.
    flights: Flights,
    shared: Arc<Shared>,
    /// What to listen to.
    descriptors: Vec<(RawFd, u16)>,
}

/// What one look at the queue brought.
#[derive(Default)]
struct Taken {
    count: u32,
    /// Others should have their turn now.
    enough: bool,
}

impl BlockWorker {
    /// A worker for queue `index` of requests.
    pub fn new(index: usize, requests: Ring, flights: Flights, shared: Arc<Shared>) -> BlockWorker {
        let vectors = IoVectors::new(requests.memory().clone());
        let mut worker = BlockWorker { index, requests, vectors, flights, shared, descriptors: Vec::new() };
        worker.listen(None);
        worker
    }

    /// Listens to the engine, and to the limiter while that is waited for.
    fn listen(&mut self, limiter: Option<RawFd>) {
        self.descriptors.clear();
        self.descriptors.extend(limiter.map(|descriptor| (descriptor, LIMITER)));
        self.descriptors.extend(self.flights.descriptor().map(|descriptor| (descriptor, LANDED)));
    }

    fn turn(&mut self, limiter_fired: bool) -> Result<Turn, NeedsReset> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state(self.index).ok_or(NeedsReset)?;
        if shared.is_broken() {
            return Err(NeedsReset);
        }
        if limiter_fired {
            state.limiter.timer_fired();
            shared.metrics.rate_limiter_event_count.increment();
        }
        let waited = state.limiter.waiting();
        let turn = self.rounds(&mut state).inspect_err(|_| {
            shared.set_broken(true);
            shared.metrics.event_fails.increment();
        });
        let waiting = state.limiter.waiting();
        if waiting && !waited {
            shared.metrics.rate_limiter_throttled_events.increment();
        }
        self.listen(waiting.then(|| state.limiter.descriptor()));
        turn
    }

    /// Starts what waits and takes in what has landed, until neither is left.
    fn rounds(&mut self, state: &mut State) -> Result<Turn, NeedsReset> {
        self.requests.hush()?;
        let mut left = TURN_LENGTH;
        for _ in 0..ROUNDS {
            let landed = self.answer_landed()?;
            let taken = if state.limiter.waiting() { Taken::default() } else { self.take(state, left)? };
            left = left.saturating_sub(taken.count);
            if !self.flights.submit().map_err(|_| NeedsReset)? {
                return Ok(Turn::More);
            }
            if taken.enough || left == 0 {
                self.answer_landed()?;
                return Ok(Turn::More);
            }
            if landed || taken.count != 0 {
                // What was done took time, in which more may have come: that needs no notification.
                continue;
            }
            if state.limiter.waiting() || self.flights.room() == 0 || !self.requests.listen()? {
                return Ok(Turn::Done);
            }
        }
        Ok(Turn::More)
    }

    /// Answers every flight that has landed; tells whether there was one, or one that goes on.
    fn answer_landed(&mut self) -> Result<bool, NeedsReset> {
        let mut now = None;
        while let Some(landed) = self.flights.next() {
            let now = *now.get_or_insert_with(Instant::now);
            let took = now.saturating_duration_since(landed.started);
            count(&self.shared.metrics, landed.kind, landed.length, landed.outcome, took);
            let written = landed.answer.give(self.requests.memory(), landed.outcome)?;
            self.requests.push(landed.answer.head, written)?;
        }
        if now.is_some() {
            self.requests.signal()?;
        }
        Ok(now.is_some() || self.flights.queued())
    }

    /// Takes requests from the queue, at most `most` of them, as far as limits and flights have room.
    fn take(&mut self, state: &mut State, most: u32) -> Result<Taken, NeedsReset> {
        let State { disk, limiter, .. } = state;
        let metrics = &*self.shared.metrics;
        let mut taken = Taken::default();
        let (mut started, mut at_once) = (None, 0);
        while taken.count < most
            && at_once < GROUP_LENGTH
            && self.flights.wants_more()
            && self.requests.pop()?
        {
            if self.flights.room() == 0 {
                self.requests.unpop();
                metrics.io_engine_throttled_events.increment();
                break;
            }
            let (memory, chain) = (self.requests.memory(), self.requests.chain());
            if !limiter.pass(data_length(chain)) {
                self.requests.unpop();
                break;
            }
            taken.count += 1;
            if self.flights.holds(chain.head()) {
                return Err(NeedsReset);
            }
            let answer = Answer::of(chain)?;
            let written = match Operation::read(disk, memory, chain) {
                Ok(operation) => {
                    let started = *started.get_or_insert_with(Instant::now);
                    let (kind, length) = (operation.kind(), operation.length());
                    let outcome = if kind.may_fly() && disk.medium.raw().is_some() {
                        match self.flights.start(disk, &operation, answer, started) {
                            Ok(()) => continue,
                            Err(refusal) => Err(refusal),
                        }
                    } else {
                        let mut cost = 0;
                        let outcome = disk.execute(memory, &operation, &mut self.vectors, &mut cost);
                        limiter.charge(cost);
                        // It may have taken long.
                        taken.enough = operation.is_heavy();
                        outcome
                    };
                    count(metrics, kind, length, outcome, started.elapsed());
                    answer.give(memory, outcome)?
                }
                Err(refusal) => {
                    count_refused(metrics, refusal);
                    answer.give(memory, Err(refusal))?
                }
            };
            self.requests.push(answer.head, written)?;
            at_once += 1;
            if taken.enough {
                break;
            }
        }
        if at_once != 0 {
            self.requests.signal()?;
        }
        Ok(taken)
    }
}

/// Counts a request that has ended.
fn count(metrics: &BlockMetrics, kind: Kind, length: u64, outcome: Result<u64, Refusal>, took: Duration) {
    if let Err(refusal) = outcome {
        return count_refused(metrics, refusal);
    }
    match kind {
        Kind::Read => {
            metrics.read_count.increment();
            metrics.read_bytes.add(length);
            metrics.read_agg.record(took);
        }
        Kind::Write => {
            metrics.write_count.increment();
            metrics.write_bytes.add(length);
            metrics.write_agg.record(took);
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
        // First nothing touches the guest's memory any more, then the engine is the next worker's.
        let engine = self.flights.end();
        if let Some(mut state) = self.shared.state(self.index) {
            state.engine = engine;
            state.interrupt = None;
        }
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
