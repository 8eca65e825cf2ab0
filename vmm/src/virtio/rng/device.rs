//! What the entropy device is.

use std::io;
use std::sync::{Arc, Mutex};

use super::worker::RngWorker;
use crate::config::RateLimiter;
use crate::metrics::EntropyMetrics;
use crate::virtio::device::{Activation, NeedsReset, Share, VirtioDevice};
use crate::virtio::features;
use crate::virtio::limiter::Limiter;
use crate::virtio::ring::Ring;

/// Virtio 1.2 section 5.4.
const DEVICE_TYPE: u32 = 4;
const QUEUE_SIZES: [u16; 1] = [64];

/// An entropy device.
pub struct RngDevice {
    id: String,
    /// Outlives a reset of the device: a guest gains nothing by one.
    limiter: Arc<Mutex<Limiter>>,
    metrics: Arc<EntropyMetrics>,
}

impl RngDevice {
    /// An entropy device by the name of `id` that gives no more than `limits` allow. Fails when the host has no
    /// timer for them.
    pub fn new(id: &str, limits: &RateLimiter, metrics: Arc<EntropyMetrics>) -> io::Result<RngDevice> {
        let limiter = Arc::new(Mutex::new(Limiter::new(limits)?));
        Ok(RngDevice { id: id.to_owned(), limiter, metrics })
    }

    /// One without limits, counted for nobody.
    #[cfg(test)]
    pub fn plain(id: &str) -> RngDevice {
        RngDevice::new(id, &RateLimiter::default(), Arc::default()).unwrap()
    }
}

impl VirtioDevice for RngDevice {
    fn device_type(&self) -> u32 {
        DEVICE_TYPE
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn features(&self) -> u64 {
        features::COMMON
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn read_config(&self, _offset: u64, _data: &mut [u8]) {}

    fn activate(&mut self, activation: Activation<'_>) -> Result<Vec<Share>, NeedsReset> {
        let [requests] = <[Ring; 1]>::try_from(Ring::from_activation(activation)).map_err(|_| {
            self.metrics.activate_fails.increment();
            NeedsReset
        })?;
        Ok(Share::whole(RngWorker::new(requests, Arc::clone(&self.limiter), Arc::clone(&self.metrics))))
    }
}
