//! What the persistent memory device is.

use std::sync::{Arc, Mutex, PoisonError};

use super::worker::{Backing, PmemWorker};
use crate::config::RateLimiter;
use crate::drive::RawDrive;
use crate::memory::FileMapping;
use crate::metrics::PmemMetrics;
use crate::virtio::device::{Activation, NeedsReset, Share, VirtioDevice, read_config_space};
use crate::virtio::error::VirtioError;
use crate::virtio::features;
use crate::virtio::limiter::Limiter;
use crate::virtio::ring::Ring;

/// Virtio 1.2 section 5.19.
const DEVICE_TYPE: u32 = 27;
const QUEUE_SIZES: [u16; 1] = [64];

/// A file in the guest's physical address space.
#[derive(Debug, Clone)]
pub struct PmemRegion {
    /// Where it starts there.
    pub address: u64,
    /// Where it is here.
    pub mapping: Arc<FileMapping>,
}

/// A persistent memory device.
pub struct PmemDevice {
    id: String,
    region: PmemRegion,
    backing: Arc<Backing>,
    limiter: Arc<Mutex<Limiter>>,
}

/// Reaches a persistent memory device while the guest runs.
pub struct PmemHandle {
    /// The memory that the machine has because of the device.
    pub region: PmemRegion,
    limiter: Arc<Mutex<Limiter>>,
}

impl PmemHandle {
    /// Takes over the limits that `change` names.
    pub fn change_limits(&self, change: &RateLimiter) {
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner).update(change);
    }
}

impl PmemDevice {
    /// A device by the name of `id` for `region`, which maps `raw`. Flushes are held to `limits`, in which each
    /// counts the size of the whole file.
    pub fn new(
        id: &str,
        region: PmemRegion,
        raw: RawDrive,
        limits: &RateLimiter,
        metrics: Arc<PmemMetrics>,
    ) -> Result<PmemDevice, VirtioError> {
        let limiter =
            Limiter::new(limits).map_err(|source| VirtioError::Limiter { device: id.to_owned(), source })?;
        let backing = Backing { raw, read_only: region.mapping.read_only(), metrics };
        let limiter = Arc::new(Mutex::new(limiter));
        Ok(PmemDevice { id: id.to_owned(), region, backing: Arc::new(backing), limiter })
    }

    /// The way to change it while it runs.
    pub fn handle(&self) -> PmemHandle {
        PmemHandle { region: self.region.clone(), limiter: Arc::clone(&self.limiter) }
    }
}

impl VirtioDevice for PmemDevice {
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

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let (start, length) = (self.region.address, self.region.mapping.length());
        let space = [start.to_le_bytes(), length.to_le_bytes()].concat();
        read_config_space(&space, offset, data);
    }

    fn write_config(&mut self, _offset: u64, _data: &[u8]) {
        self.backing.metrics.cfg_fails.increment();
    }

    fn activate(&mut self, activation: Activation<'_>) -> Result<Vec<Share>, NeedsReset> {
        let [flushes] = <[Ring; 1]>::try_from(Ring::from_activation(activation)).map_err(|_| {
            self.backing.metrics.activate_fails.increment();
            NeedsReset
        })?;
        Ok(Share::whole(PmemWorker::new(flushes, Arc::clone(&self.backing), Arc::clone(&self.limiter))))
    }
}
