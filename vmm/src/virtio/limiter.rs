//! A limiter holds a device back when it does too much: token buckets for bytes and for operations, and a
//! timer that tells when the device may go on.
//!
//! An operation passes while both buckets hold something, and may take more than is left: the bucket is then
//! in debt and nothing passes until that is paid. So an operation larger than the bucket gets through, and the
//! rate over any longer time is exact.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use vmm_sys_util::timerfd::TimerFd;

use crate::config::{RateLimiter, TokenBucket};

const NANOSECONDS_PER_MILLISECOND: i128 = 1_000_000;
/// The shortest wait, or half the time in which the bucket fills if that is less (what comes after a full bucket
/// is lost): woken for every token, a device would do little else.
const REST: i128 = 10 * NANOSECONDS_PER_MILLISECOND;

/// Limits one direction of one device.
pub struct Limiter {
    bytes: Option<Bucket>,
    operations: Option<Bucket>,
    timer: TimerFd,
    /// Whether the timer runs: the device waits for it.
    waiting: bool,
}

impl Limiter {
    /// A limiter as `spec` says. Fails when the host has no timer for it.
    pub fn new(spec: &RateLimiter) -> io::Result<Limiter> {
        let now = Instant::now();
        let timer = TimerFd::new().map_err(io::Error::from)?;
        let bucket = |spec: Option<TokenBucket>| spec.and_then(|spec| Bucket::new(spec, now));
        let (bytes, operations) = (bucket(spec.bandwidth), bucket(spec.ops));
        Ok(Limiter { bytes, operations, timer, waiting: false })
    }

    /// Lets one operation of `bytes` pass, or tells that it has to wait: then [`Limiter::descriptor`] becomes
    /// readable when it is worth to try again.
    pub fn pass(&mut self, bytes: u64) -> bool {
        if self.bytes.is_none() && self.operations.is_none() {
            return true;
        }
        self.pass_at(Instant::now(), bytes)
    }

    fn pass_at(&mut self, now: Instant, bytes: u64) -> bool {
        let ready = self.ready_at(now);
        if ready {
            self.take(bytes);
        }
        ready
    }

    /// As [`Limiter::pass`] for an operation whose size is not known before it took place: what is let pass is
    /// to be counted with [`Limiter::take`].
    pub fn ready(&mut self) -> bool {
        if self.bytes.is_none() && self.operations.is_none() {
            return true;
        }
        self.ready_at(Instant::now())
    }

    fn ready_at(&mut self, now: Instant) -> bool {
        let buckets = [&mut self.bytes, &mut self.operations];
        let waits = buckets.into_iter().flatten().map(|bucket| bucket.wait(now));
        let wait = waits.max().unwrap_or_default();
        if wait.is_zero() {
            return true;
        }
        // Without a timer the device would wait for ever; then a limit is the lesser good.
        self.waiting = self.waiting || self.timer.reset(wait, None).is_ok();
        !self.waiting
    }

    /// Counts an operation of `bytes` that [`Limiter::ready`] let pass.
    pub fn take(&mut self, bytes: u64) {
        for (bucket, tokens) in [(&mut self.bytes, bytes), (&mut self.operations, 1)] {
            if let Some(bucket) = bucket {
                bucket.take(tokens);
            }
        }
    }

    /// Takes `bytes` more for an operation that has passed and turned out to be larger.
    pub fn charge(&mut self, bytes: u64) {
        if let Some(bucket) = &mut self.bytes {
            bucket.take(bytes);
        }
    }

    /// Gives back what [`Limiter::pass`] took for an operation of `bytes` that did not take place.
    pub fn give_back(&mut self, bytes: u64) {
        for (bucket, tokens) in [(&mut self.bytes, bytes), (&mut self.operations, 1)] {
            if let Some(bucket) = bucket {
                bucket.give_back(tokens);
            }
        }
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
        for (bucket, change) in [(&mut self.bytes, change.bandwidth), (&mut self.operations, change.ops)] {
            if let Some(spec) = change {
                *bucket = Bucket::new(spec, now);
            }
        }
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
mod tests {
    use super::*;

    fn bucket(size: u64, burst: u64, refill_time: u64) -> TokenBucket {
        TokenBucket { size, one_time_burst: Some(burst), refill_time }
    }

    fn limiter(bandwidth: Option<TokenBucket>, ops: Option<TokenBucket>) -> Limiter {
        Limiter::new(&RateLimiter { bandwidth, ops }).unwrap()
    }

    /// How many bytes pass in `seconds` when a device tries every 100 microseconds.
    fn passed(limiter: &mut Limiter, seconds: u32, bytes: u64) -> u64 {
        let start = Instant::now();
        let steps = (0..seconds * 10_000).map(|step| start + Duration::from_micros(100) * step);
        steps.filter(|now| limiter.pass_at(*now, bytes)).count() as u64 * bytes
    }

    #[test]
    fn the_rate_over_a_minute_is_the_one_asked_for() {
        for bytes in [512, 65536, 1 << 20] {
            let mut limiter = limiter(Some(bucket(1 << 20, 0, 100)), None);
            let rate = passed(&mut limiter, 60, bytes) as f64 / 60.0;
            let asked = f64::from(10 << 20);
            assert!(bytes == 512 || (rate / asked - 1.0).abs() < 0.05, "{bytes}: {rate}");
            // 512 bytes 10,000 times a second are fewer than allowed: all pass.
            assert!(bytes != 512 || rate == 5_120_000.0, "{rate}");
        }
    }

    #[test]
    fn operations_are_counted_apart_from_bytes() {
        let mut limiter = limiter(Some(bucket(u64::MAX, 0, 1)), Some(bucket(100, 0, 1000)));
        let operations = passed(&mut limiter, 60, 1);
        assert!((6000..=6300).contains(&operations), "{operations}");
    }

    #[test]
    fn a_burst_is_there_once_and_a_zero_limits_nothing() {
        let mut burst = limiter(None, Some(bucket(10, 1000, 1000)));
        let operations = passed(&mut burst, 60, 1);
        assert!((1600..=1620).contains(&operations), "{operations}");
        let mut free = limiter(Some(bucket(0, 5, 1000)), Some(bucket(5, 0, 0)));
        assert!((0..1000).all(|_| free.pass(1 << 40)));
    }

    #[test]
    fn who_waits_is_woken_by_time_and_by_a_change() {
        let mut limiter = limiter(None, Some(bucket(1, 0, 3_600_000)));
        assert!(limiter.pass(1));
        assert!(!limiter.pass(1));
        assert!(limiter.waiting());
        limiter.update(&RateLimiter { bandwidth: None, ops: Some(bucket(0, 0, 0)) });
        limiter.timer_fired();
        assert!(!limiter.waiting());
        assert!(limiter.pass(1));
        limiter.update(&RateLimiter { bandwidth: Some(bucket(1, 0, 5)), ops: None });
        assert!(limiter.pass(1) && !limiter.pass(1));
        std::thread::sleep(Duration::from_millis(20));
        limiter.timer_fired();
        assert!(limiter.pass(1));
        limiter.give_back(1);
        assert!(limiter.pass(1));
    }

    #[test]
    fn who_is_told_of_the_timer_too_early_goes_on_waiting_and_holds_nobody_up() {
        let mut limiter = limiter(None, Some(bucket(1, 0, 5000)));
        assert!(limiter.pass(1) && !limiter.pass(1));
        limiter.timer_fired();
        assert!(limiter.waiting());
    }

    #[test]
    fn numbers_of_any_size_make_a_bucket() {
        for (size, refill_time) in [(u64::MAX, u64::MAX), (1, u64::MAX), (u64::MAX, 1), (1 << 63, 1 << 40)] {
            let now = Instant::now();
            let mut bucket = Bucket::new(bucket(size, 0, refill_time), now).unwrap();
            assert_eq!(bucket.wait(now), Duration::ZERO, "{size} {refill_time}");
            (0..4).for_each(|_| bucket.take(u64::MAX));
            assert!(bucket.wait(now + Duration::from_millis(1)) > Duration::ZERO, "{size} {refill_time}");
            bucket.give_back(u64::MAX);
            bucket.wait(now + Duration::from_secs(3600));
        }
    }
}
