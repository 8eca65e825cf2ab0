//! The boot timer: a page where a guest says that it has booted (`--boot-timer`), as Firecracker has it.

use std::sync::Arc;

use crate::bus::{BusDevice, Effect};
use crate::clock;
use crate::logger::Throttle;
use crate::metrics::ProcessMetrics;

/// What a guest writes, one byte at the page's begin, when it has booted.
const BOOTED: u8 = 123;

/// The times at which a machine's start was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    monotonic_us: u64,
    processor_us: u64,
}

impl Start {
    /// Now.
    pub fn now() -> Self {
        Self { monotonic_us: clock::monotonic_us(), processor_us: clock::process_cpu_us() }
    }
}

/// Tells how long the guest took.
pub struct BootTimer {
    start: Start,
    throttle: Throttle,
    metrics: Arc<ProcessMetrics>,
}

impl BootTimer {
    /// Counts from `start`.
    pub fn new(start: Start, metrics: Arc<ProcessMetrics>) -> Self {
        Self { start, throttle: Throttle::default(), metrics }
    }
}

impl BusDevice for BootTimer {
    fn read(&mut self, _offset: u64, _data: &mut [u8]) {}

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        if (offset, data) != (0, &[BOOTED]) {
            return Effect::None;
        }
        let wall = clock::monotonic_us().saturating_sub(self.start.monotonic_us);
        let cpu = clock::process_cpu_us().saturating_sub(self.start.processor_us);
        self.metrics.machine.guest_boot_time_us.set(wall);
        if self.throttle.passes() {
            // Programs look for this line in Firecracker's log; its form is theirs.
            let (wall_ms, cpu_ms) = (wall / 1000, cpu / 1000);
            log::info!("Guest-boot-time = {wall:>6} us {wall_ms} ms, {cpu:>6} CPU us {cpu_ms} CPU ms");
        } else {
            self.metrics.logger.rate_limited_log_count.increment();
        }
        Effect::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_agreed_byte_at_the_agreed_place_counts() {
        let metrics = Arc::<ProcessMetrics>::default();
        let start = Start { monotonic_us: 0, processor_us: 0 };
        let mut timer = BootTimer::new(start, metrics.clone());
        for (offset, data) in [(0, [122].as_slice()), (1, &[BOOTED]), (0, &[BOOTED, 0]), (0, &[])] {
            assert_eq!(timer.write(offset, data), Effect::None);
            assert_eq!(metrics.machine.guest_boot_time_us.value(), 0);
        }
        for _ in 0..12 {
            timer.write(0, &[BOOTED]);
        }
        assert!(metrics.machine.guest_boot_time_us.value() > 0);
        assert_eq!(metrics.logger.rate_limited_log_count.total(), 2);
    }
}
