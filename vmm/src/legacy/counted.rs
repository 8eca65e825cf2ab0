//! Counts what a guest does with the keyboard controller.

use std::sync::{Arc, Mutex, PoisonError};

use crate::bus::{BusDevice, Effect};
use crate::metrics::KeyboardMetrics;

/// A controller whose accesses are counted.
pub struct Counted<T> {
    device: Arc<Mutex<T>>,
    metrics: Arc<KeyboardMetrics>,
}

impl<T> Counted<T> {
    /// Counts `device`'s accesses in `metrics`.
    pub fn new(device: Arc<Mutex<T>>, metrics: Arc<KeyboardMetrics>) -> Self {
        Self { device, metrics }
    }
}

impl<T: BusDevice> BusDevice for Counted<T> {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        let counter =
            if data.len() == 1 { &self.metrics.read_count } else { &self.metrics.missed_read_count };
        counter.increment();
        self.device.lock().unwrap_or_else(PoisonError::into_inner).read(offset, data);
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        let counter =
            if data.len() == 1 { &self.metrics.write_count } else { &self.metrics.missed_write_count };
        counter.increment();
        let effect = self.device.lock().unwrap_or_else(PoisonError::into_inner).write(offset, data);
        if effect == Effect::Reset {
            self.metrics.reset_count.increment();
        }
        effect
    }
}
