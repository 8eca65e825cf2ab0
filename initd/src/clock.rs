//! Guest uptime.

use rustix::time::{ClockId, clock_gettime};

/// `CLOCK_BOOTTIME` in microseconds.
pub fn uptime_us() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let micros = u64::try_from(now.tv_nsec / 1000).unwrap_or(0);
    seconds * 1_000_000 + micros
}
