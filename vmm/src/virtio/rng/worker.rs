//! What the entropy device does.

use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, PoisonError};

use crate::memory::GuestMemory;
use crate::metrics::EntropyMetrics;
use crate::random;
use crate::virtio::chain::Chain;
use crate::virtio::device::{NeedsReset, Turn, Worker};
use crate::virtio::limiter::Limiter;
use crate::virtio::ring::Ring;

/// The most bytes that one request gets. Drivers ask for a few dozen; a device may give less than asked for.
const REQUEST_MAX: u64 = 64 * 1024;
/// How many bytes are drawn at once.
const DRAW: usize = 1024;

/// Fills buffers with random bytes.
pub struct RngWorker {
    requests: Ring,
    limiter: Arc<Mutex<Limiter>>,
    /// The limiter's descriptor while that is waited for.
    waiting: Option<RawFd>,
    metrics: Arc<EntropyMetrics>,
}

impl RngWorker {
    /// A worker for the queue of requests.
    pub fn new(requests: Ring, limiter: Arc<Mutex<Limiter>>, metrics: Arc<EntropyMetrics>) -> RngWorker {
        RngWorker { requests, limiter, waiting: None, metrics }
    }

    fn turn(&mut self, limiter_fired: bool) -> Result<Turn, NeedsReset> {
        let metrics = &self.metrics;
        let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        if limiter_fired {
            limiter.timer_fired();
            metrics.rate_limiter_event_count.increment();
        }
        let bytes = |chain: &Chain| chain.writable().len().min(REQUEST_MAX);
        let waited = limiter.waiting();
        let turn = self
            .requests
            .serve_within(&mut limiter, bytes, |memory, chain| fill(memory, chain, metrics))
            .inspect_err(|_| metrics.entropy_event_fails.increment())?;
        if limiter.waiting() && !waited {
            metrics.entropy_rate_limiter_throttled.increment();
        }
        self.waiting = limiter.waiting().then(|| limiter.descriptor());
        Ok(turn)
    }
}

impl Worker for RngWorker {
    fn descriptors(&self) -> Vec<(RawFd, u16)> {
        self.waiting.iter().map(|descriptor| (*descriptor, 0)).collect()
    }

    fn queue_notified(&mut self, _index: u16) -> Result<Turn, NeedsReset> {
        self.turn(false)
    }

    fn descriptor_ready(&mut self, _token: u16) -> Result<Turn, NeedsReset> {
        self.turn(true)
    }
}

/// Fills the chain, up to the limit; returns how many bytes it wrote.
fn fill(memory: &GuestMemory, chain: &Chain, metrics: &EntropyMetrics) -> Result<u32, NeedsReset> {
    let (mut rest, _) = chain.writable().split_at(REQUEST_MAX);
    let mut written = 0;
    let mut drawn = [0; DRAW];
    while !rest.is_empty() {
        let (now, later) = rest.split_at(DRAW as u64);
        let count = usize::try_from(now.len()).unwrap_or(DRAW);
        let drawn = drawn.get_mut(..count).ok_or(NeedsReset)?;
        random::fill(drawn).inspect_err(|_| metrics.host_rng_fails.increment()).map_err(|_| NeedsReset)?;
        now.write(memory, drawn).map_err(|_| NeedsReset)?;
        written += u32::try_from(count).unwrap_or(0);
        rest = later;
    }
    metrics.entropy_event_count.increment();
    metrics.entropy_bytes.add(written.into());
    Ok(written)
}

#[cfg(test)]
#[path = "rng_tests.rs"]
mod tests;
