//! What a drive did.

use std::time::Duration;

use serde::Serialize;

use super::figures::{Kind, Shown, figures};
use super::{Counter, Gauge};

figures! {
/// Firecracker's `block` and `block_ID`; what it does not have is named at its end.
#[derive(Debug, Default, Serialize)]
pub struct BlockMetrics {
    /// Activations that failed.
    pub activate_fails: Counter,
    /// Writes of the driver to the configuration space, which are ignored.
    pub cfg_fails: Counter,
    /// Times that the device broke down because of the guest.
    pub event_fails: Counter,
    /// Requests that the host failed.
    pub execute_fails: Counter,
    /// Requests that are malformed, out of bounds, forbidden or unknown.
    pub invalid_reqs_count: Counter,
    /// Flushes that were served.
    pub flush_count: Counter,
    /// Notifications by the driver.
    pub queue_event_count: Counter,
    /// Times that the limits' timer let requests go on.
    pub rate_limiter_event_count: Counter,
    /// Changes of the file behind the drive.
    pub update_count: Counter,
    /// Changes that were refused.
    pub update_fails: Counter,
    /// Bytes read.
    pub read_bytes: Counter,
    /// Bytes written.
    pub write_bytes: Counter,
    /// Reads that were served.
    pub read_count: Counter,
    /// Writes that were served.
    pub write_count: Counter,
    /// How long reads took.
    pub read_agg: Latency,
    /// How long writes took.
    pub write_agg: Latency,
    /// Times that a request had to wait for its limits.
    pub rate_limiter_throttled_events: Counter,
    /// Times that a request had to wait because `io_uring` was full.
    pub io_engine_throttled_events: Counter,
    /// Not Firecracker's: discards that were served.
    pub discard_count: Counter,
    /// Not Firecracker's: writes of zeroes that were served.
    pub write_zeroes_count: Counter,
}
}

/// How long something took, from the first to the last; in microseconds.
#[derive(Debug, Default, Serialize)]
pub struct Latency {
    /// The shortest; 0 as long as there is none.
    pub min_us: Gauge,
    /// The longest.
    pub max_us: Gauge,
    /// All together.
    pub sum_us: Counter,
}

impl Shown for Latency {
    fn show(&self, see: &mut dyn FnMut(&'static str, Kind, u64)) {
        see("min_us", Kind::Gauge, self.min_us.value());
        see("max_us", Kind::Gauge, self.max_us.value());
        see("sum_us", Kind::Counter, self.sum_us.total());
    }
}

impl Latency {
    /// Counts one that took `time`. One thread at a time.
    pub fn record(&self, time: Duration) {
        let time = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let shortest = self.min_us.value();
        if shortest == 0 || time < shortest {
            self.min_us.set(time.max(1));
        }
        self.max_us.set(self.max_us.value().max(time));
        self.sum_us.add(time);
    }
}
