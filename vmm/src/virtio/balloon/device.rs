//! What the balloon is.

use std::sync::Arc;

use super::feature;
use super::state::BalloonHandle;
use super::worker::{BalloonWorker, Role};
use crate::metrics::BalloonMetrics;
use crate::virtio::device::{Activation, NeedsReset, Share, VirtioDevice};
use crate::virtio::features;
use crate::virtio::ring::Ring;

/// Virtio 1.2 section 5.5.
const DEVICE_TYPE: u32 = 5;
const QUEUE_SIZE: u16 = 256;
/// The queues that only a feature brings, in their order. What is absent leaves no gap: Linux and Firecracker
/// count so, whatever virtio 1.2 section 5.5.2 numbers them.
const OPTIONAL: [(u64, Role); 3] = [
    (feature::STATISTICS, Role::Statistics),
    (feature::HINTING, Role::Hinting),
    (feature::REPORTING, Role::Reporting),
];

/// A balloon.
pub struct BalloonDevice {
    handle: BalloonHandle,
    queue_sizes: Vec<u16>,
    metrics: Arc<BalloonMetrics>,
}

impl BalloonDevice {
    /// The device behind `handle`.
    pub fn new(handle: BalloonHandle, metrics: Arc<BalloonMetrics>) -> BalloonDevice {
        let queues = roles(handle.features()).count();
        BalloonDevice { handle, queue_sizes: vec![QUEUE_SIZE; queues], metrics }
    }
}

/// What the queues are for when both sides know `features`.
fn roles(features: u64) -> impl Iterator<Item = Role> {
    let optional = OPTIONAL.into_iter().filter(move |(feature, _)| features & feature != 0);
    [Role::Inflate, Role::Deflate].into_iter().chain(optional.map(|(_, role)| role))
}

impl VirtioDevice for BalloonDevice {
    fn device_type(&self) -> u32 {
        DEVICE_TYPE
    }

    fn id(&self) -> &str {
        "balloon"
    }

    fn features(&self) -> u64 {
        features::COMMON | self.handle.features()
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        self.handle.read_config(offset, data);
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        self.handle.write_config(offset, data);
    }

    fn config_generation(&self) -> u32 {
        self.handle.generation()
    }

    fn activate(&mut self, activation: Activation<'_>) -> Result<Vec<Share>, NeedsReset> {
        let (features, interrupt) = (activation.features, Arc::clone(&activation.interrupt));
        let queues = roles(features).zip(Ring::from_activation(activation)).collect();
        let timer = self
            .handle
            .link(interrupt, features)
            .inspect_err(|_| self.metrics.activate_fails.increment())
            .map_err(|_| NeedsReset)?;
        Ok(Share::whole(BalloonWorker::new(queues, self.handle.clone(), timer, Arc::clone(&self.metrics))))
    }
}
