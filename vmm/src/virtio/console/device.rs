//! What the console device is.

use std::io::Write;
use std::sync::Arc;

use super::typed::Typed;
use super::worker::ConsoleWorker;
use crate::console::Console;
use crate::metrics::ConsoleMetrics;
use crate::virtio::device::{Activation, NeedsReset, Share, VirtioDevice, read_config_space};
use crate::virtio::features;
use crate::virtio::ring::Ring;

/// Virtio 1.2 section 5.3.
const DEVICE_TYPE: u32 = 3;
/// Receive, transmit.
const QUEUE_SIZES: [u16; 2] = [64, 64];
/// The configuration space takes single characters (virtio 1.2 section 5.3.3).
const EMERGENCY_WRITE: u64 = 1 << 2;
/// Where.
const EMERGENCY_OFFSET: u64 = 8;
/// Columns and rows (not offered), ports (one), the character.
const SPACE: [u8; 12] = [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];

/// A console device.
pub struct ConsoleDevice {
    id: String,
    console: Console,
    typed: Typed,
    metrics: Arc<ConsoleMetrics>,
}

impl ConsoleDevice {
    /// A console device by the name of `id` that writes to `console` and gives the guest what is `typed`.
    pub fn new(id: &str, console: Console, typed: Typed, metrics: Arc<ConsoleMetrics>) -> ConsoleDevice {
        ConsoleDevice { id: id.to_owned(), console, typed, metrics }
    }
}

impl VirtioDevice for ConsoleDevice {
    fn device_type(&self) -> u32 {
        DEVICE_TYPE
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn features(&self) -> u64 {
        features::COMMON | EMERGENCY_WRITE
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_config_space(&SPACE, offset, data);
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        if let (EMERGENCY_OFFSET, Some(byte)) = (offset, data.first()) {
            // A console never fails.
            let _ = self.console.write(&[*byte]);
            self.metrics.tx_bytes_count.increment();
        }
    }

    fn activate(&mut self, activation: Activation<'_>) -> Result<Vec<Share>, NeedsReset> {
        let [receive, transmit] = <[Ring; 2]>::try_from(Ring::from_activation(activation)).map_err(|_| {
            self.metrics.activate_fails.increment();
            NeedsReset
        })?;
        let (console, typed) = (self.console.clone(), self.typed.clone());
        let metrics = Arc::clone(&self.metrics);
        Ok(Share::whole(ConsoleWorker::new(receive, transmit, console, typed, metrics)))
    }
}
