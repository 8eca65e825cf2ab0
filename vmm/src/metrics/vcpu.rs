//! What leaves the guest.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::Serialize;

use super::Counter;
use super::figures::{Kind, Shown, figures};

figures! {
/// Exits to this process by kind, of all vCPUs together (Firecracker's `vcpu`).
#[derive(Debug, Default, Serialize)]
pub struct VcpuMetrics {
    /// Reads of ports.
    pub exit_io_in: Counter,
    /// Writes of ports.
    pub exit_io_out: Counter,
    /// Writes of ports that KVM gathered without an exit.
    pub gathered_writes: Counter,
    /// Reads of device memory.
    pub exit_mmio_read: Counter,
    /// Writes of device memory.
    pub exit_mmio_write: Counter,
    /// Exits that end the machine because KVM or the host fails the guest.
    pub failures: Counter,
    /// Times that a guest's clock could not be told that it was paused.
    pub kvmclock_ctrl_fails: Counter,
    /// How long reads of ports took.
    pub exit_io_in_agg: Durations,
    /// How long writes of ports took.
    pub exit_io_out_agg: Durations,
    /// How long reads of device memory took.
    pub exit_mmio_read_agg: Durations,
    /// How long writes of device memory took.
    pub exit_mmio_write_agg: Durations,
}
}

/// Shortest, longest and sum of times in microseconds. Shortest and longest are of the process's whole life,
/// the sum is of what happened since the last report; all as in Firecracker.
#[derive(Debug, Default, Serialize)]
pub struct Durations {
    /// The shortest that was not 0; 0 when there was none.
    min_us: Extreme,
    /// The longest.
    max_us: Extreme,
    /// All together.
    sum_us: Counter,
}

#[derive(Debug, Default)]
struct Extreme(AtomicU64);

impl Serialize for Extreme {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0.load(Ordering::Relaxed))
    }
}

impl Shown for Durations {
    fn show(&self, see: &mut dyn FnMut(&'static str, Kind, u64)) {
        see("min_us", Kind::Gauge, self.min_us.0.load(Ordering::Relaxed));
        see("max_us", Kind::Gauge, self.max_us.0.load(Ordering::Relaxed));
        see("sum_us", Kind::Counter, self.sum_us.total());
    }
}

impl Durations {
    /// Takes the time of `what`.
    pub fn time<T>(&self, what: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = what();
        self.add(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
        done
    }

    fn add(&self, microseconds: u64) {
        self.sum_us.add(microseconds);
        if microseconds != 0 {
            let shorter = |min| (min == 0 || microseconds < min).then_some(microseconds);
            // Refused when it is no shorter.
            let _ = self.min_us.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, shorter);
        }
        self.max_us.0.fetch_max(microseconds, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_their_extremes() {
        let durations = Durations::default();
        [5, 3, 0, 9].into_iter().for_each(|time| durations.add(time));
        let report = |durations| serde_json::to_value(durations).unwrap();
        assert_eq!(report(&durations), serde_json::json!({"min_us": 3, "max_us": 9, "sum_us": 17}));
        assert_eq!(report(&durations)["sum_us"], 0);
        assert_eq!(durations.time(|| 7), 7);
    }
}
