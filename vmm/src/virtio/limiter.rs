//! A limiter holds a device back when it does too much: token buckets for bytes and for operations, and a
//! timer that tells when the device may go on.
//!
//! An operation passes while both buckets hold something, and may take more than is left: the bucket is then
//! in debt and nothing passes until that is paid. So an operation larger than the bucket gets through, and the
//! rate over any longer time is exact.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use vmm_sys_util::timerfd::TimerFd;

use crate::config::{RateLimiter, TokenBucket};

const NANOSECONDS_PER_MILLISECOND: i128 = 1_000_000;
/// The shortest wait, or half the time in which the bucket fills if that is less (what comes after a full bucket
/// is lost): woken for every token, a device would do little else.
const REST: i128 = 10 * NANOSECONDS_PER_MILLISECOND;

/// Limits one direction of one device, or one of its queues.
pub struct Limiter {
    /// Held for a moment only.
    buckets: Arc<Mutex<Buckets>>,
    timer: TimerFd,
    /// Whether the timer runs: the device waits for it.
    waiting: bool,
}

/// What is shared by queues that are limited together.
struct Buckets {
    bytes: Option<Bucket>,
    operations: Option<Bucket>,
}

impl Buckets {
    /// How long until there is something in each.
    fn wait(&mut self, now: impl FnOnce() -> Instant) -> Duration {
        if self.bytes.is_none() && self.operations.is_none() {
            return Duration::ZERO;
        }
        let now = now();
        let buckets = [&mut self.bytes, &mut self.operations];
        buckets.into_iter().flatten().map(|bucket| bucket.wait(now)).max().unwrap_or_default()
    }

    fn take(&mut self, bytes: u64) {
        for (bucket, tokens) in [(&mut self.bytes, bytes), (&mut self.operations, 1)] {
            if let Some(bucket) = bucket {
                bucket.take(tokens);
            }
        }
    }
}

impl Limiter {
    /// A limiter as `spec` says. Fails when the host has no timer for it.
    pub fn new(spec: &RateLimiter) -> io::Result<Limiter> {
        let now = Instant::now();
        let bucket = |spec: Option<TokenBucket>| spec.and_then(|spec| Bucket::new(spec, now));
        let buckets = Buckets { bytes: bucket(spec.bandwidth), operations: bucket(spec.ops) };
        Limiter::over(Arc::new(Mutex::new(buckets)))
    }

    /// Another one for the same buckets: what passes one is missing for the other, and each waits by itself.
    pub fn share(&self) -> io::Result<Limiter> {
        Limiter::over(Arc::clone(&self.buckets))
    }

    fn over(buckets: Arc<Mutex<Buckets>>) -> io::Result<Limiter> {
        let timer = TimerFd::new().map_err(io::Error::from)?;
        Ok(Limiter { buckets, timer, waiting: false })
    }

    fn buckets(&self) -> MutexGuard<'_, Buckets> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one operation of `bytes` pass, or tells that it has to wait: then [`Limiter::descriptor`] becomes
    /// readable when it is worth to try again.
    pub fn pass(&mut self, bytes: u64) -> bool {
        self.try_at(Instant::now, Some(bytes))
    }

    #[cfg(test)]
    fn pass_at(&mut self, now: Instant, bytes: u64) -> bool {
        self.try_at(|| now, Some(bytes))
    }

    /// As [`Limiter::pass`] for an operation whose size is not known before it took place: what is let pass is
    /// to be counted with [`Limiter::take`].
    pub fn ready(&mut self) -> bool {
        self.try_at(Instant::now, None)
    }

    fn try_at(&mut self, now: impl FnOnce() -> Instant, bytes: Option<u64>) -> bool {
        let mut buckets = self.buckets();
        let wait = buckets.wait(now);
        if !wait.is_zero() {
            drop(buckets);
            // Without a timer the device would wait for ever; then a limit is the lesser good.
            self.waiting = self.waiting || self.timer.reset(wait, None).is_ok();
            return !self.waiting;
        }
        if let Some(bytes) = bytes {
            buckets.take(bytes);
        }
        true
    }

    /// Counts an operation of `bytes` that [`Limiter::ready`] let pass.
    pub fn take(&mut self, bytes: u64) {
        self.buckets().take(bytes);
    }

    /// Takes `bytes` more for an operation that has passed and turned out to be larger.
    pub fn charge(&mut self, bytes: u64) {
        if let Some(bucket) = &mut self.buckets().bytes {
            bucket.take(bytes);
        }
    }

    /// Gives back what [`Limiter::pass`] took for an operation of `bytes` that did not take place.
    pub fn give_back(&mut self, bytes: u64) {
        let mut buckets = self.buckets();
        let Buckets { bytes: of_bytes, operations } = &mut *buckets;
        for (bucket, tokens) in [(of_bytes, bytes), (operations, 1)] {
            if let Some(bucket) = bucket {
                bucket.give_back(tokens);
            }
        }
    }

    /// Whether anything is limited, or waits still for a limit that was.
    pub fn limits(&self) -> bool {
        let buckets = self.buckets();
        buckets.bytes.is_some() || buckets.operations.is_some() || self.waiting
    }

    /// Whether an operation waits for the timer.
    pub fn waiting(&self) -> bool {
        self.waiting
    }

    /// What becomes readable (level-triggered) when a device that waits may try again; see
    /// [`Limiter::timer_fired`].
    pub fn descriptor(&self) -> RawFd {
        self.timer.as_raw_fd()
    }

    /// The descriptor was readable: the device may try again. Harmless when it was not, or was before the timer
    /// was last set: a worker that stopped so that others get their turn hears of its descriptor twice.
    pub fn timer_fired(&mut self) {
        // Never read, which could wait: nobody listens to it until it is set anew, and then it is unreadable.
        if self.waiting && !self.timer.is_armed().unwrap_or(false) {
            self.waiting = false;
        }
    }

    /// Takes over the buckets that `change` names, full. A device that waits is woken to try again.
    pub fn update(&mut self, change: &RateLimiter) {
        let now = Instant::now();
        let mut buckets = self.buckets();
        let Buckets { bytes, operations } = &mut *buckets;
        for (bucket, change) in [(bytes, change.bandwidth), (operations, change.ops)] {
            if let Some(spec) = change {
                *bucket = Bucket::new(spec, now);
            }
        }
        drop(buckets);
        self.wake();
    }

    /// A device that waits tries again at once: another limiter of the same buckets was updated.
    pub fn wake(&mut self) {
        if self.waiting {
            // Fails only for a timer that does not exist; the one that runs then ends the wait.
            let _ = self.timer.reset(Duration::from_nanos(1), None);
        }
    }
}

/// Tokens are counted in units of a token a nanosecond of the time in which the bucket fills, so that nothing
/// is rounded: a nanosecond brings `size` units, and a token is `fill_time` of them.
#[derive(Debug)]
pub struct Bucket {
    size: i128,
    fill_time: i128,
    burst: u64,
    units: i128,
    filled: Instant,
}

impl Bucket {
    /// A bucket as `spec` says, full; none for one that limits nothing.
    pub fn new(spec: TokenBucket, now: Instant) -> Option<Bucket> {
        let size = i128::from(spec.size);
        let fill_time = i128::from(spec.refill_time) * NANOSECONDS_PER_MILLISECOND;
        let limits = size != 0 && fill_time != 0;
        let burst = spec.one_time_burst.unwrap_or_default();
        let units = size.saturating_mul(fill_time);
        limits.then_some(Bucket { size, fill_time, burst, units, filled: now })
    }

    /// The units of a full bucket. Sizes and times that nobody sees the end of are more than the number holds.
    fn full(&self) -> i128 {
        self.size.saturating_mul(self.fill_time)
    }

    /// How long to wait until something is in the bucket; zero when there is.
    pub fn wait(&mut self, now: Instant) -> Duration {
        if self.burst != 0 {
            return Duration::ZERO;
        }
        let passed = now.saturating_duration_since(self.filled).as_nanos();
        let brought = i128::try_from(passed).unwrap_or(i128::MAX).saturating_mul(self.size);
        self.units = self.units.saturating_add(brought).min(self.full());
        self.filled = now;
        let missing = self.fill_time.saturating_sub(self.units);
        if missing <= 0 {
            return Duration::ZERO;
        }
        let nanoseconds = (missing / self.size).saturating_add(1).max(REST.min(self.fill_time / 2));
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }

    /// Takes tokens, more than there are if need be.
    pub fn take(&mut self, tokens: u64) {
        let from_burst = self.burst.min(tokens);
        self.burst -= from_burst;
        self.units =
            self.units.saturating_sub(i128::from(tokens - from_burst).saturating_mul(self.fill_time));
    }

    fn give_back(&mut self, tokens: u64) {
        let more = i128::from(tokens).saturating_mul(self.fill_time);
        self.units = self.units.saturating_add(more).min(self.full());
    }
}

#[cfg(test)]
#[path = "limiter_tests.rs"]
mod tests;
