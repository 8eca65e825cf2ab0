//! What the block device is.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::sync::Arc;

use virtio_bindings::virtio_blk::{VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX};

use super::request::{Disk, SECTOR_SIZE};
use super::worker::BlockWorker;
use crate::virtio::device::{Activation, NeedsReset, VirtioDevice, Worker, read_config_space};
use crate::virtio::error::VirtioError;
use crate::virtio::features;
use crate::virtio::ring::Ring;

/// Virtio 1.2 section 5.2.
const DEVICE_TYPE: u32 = 2;
const QUEUE_SIZE: u16 = 256;
const QUEUE_SIZES: [u16; 1] = [QUEUE_SIZE];
/// How many data buffers a request may have: header and status take two descriptors of a chain, which is
/// at most as long as the queue.
const SEGMENTS_MAX: u32 = QUEUE_SIZE as u32 - 2;
/// How many bytes of a drive's name the guest can read (virtio 1.2 section 5.2.6.1).
pub const SERIAL_SIZE: usize = 20;
/// Offsets in the configuration space (virtio 1.2 section 5.2.4).
const CONFIG_SIZE: usize = 16;
const CONFIG_SEG_MAX: usize = 12;

/// A drive.
#[derive(Debug)]
pub struct BlockDevice {
    id: String,
    disk: Arc<Disk>,
    features: u64,
    config: [u8; CONFIG_SIZE],
}

impl BlockDevice {
    /// A drive by the name of `id` (which is its serial too, cut to 20 bytes) whose sectors are in `file`.
    /// With `flush` the guest may ask for its writes to be made durable, and is obeyed; without, it is not
    /// offered that. Bytes behind the last whole sector are out of the guest's reach.
    pub fn new(id: &str, file: File, read_only: bool, flush: bool) -> Result<BlockDevice, VirtioError> {
        let mut serial = [0; SERIAL_SIZE];
        for (to, from) in serial.iter_mut().zip(id.bytes()) {
            *to = from;
        }
        // A block device's metadata say nothing of its size; its end does.
        let end = (&file)
            .seek(SeekFrom::End(0))
            .map_err(|source| VirtioError::DriveSize { device: id.to_owned(), source })?;
        let sectors = end / SECTOR_SIZE;
        let mut features = features::COMMON | 1 << VIRTIO_BLK_F_SEG_MAX;
        if read_only {
            features |= 1 << VIRTIO_BLK_F_RO;
        }
        if flush {
            features |= 1 << VIRTIO_BLK_F_FLUSH;
        }
        let mut config = [0; CONFIG_SIZE];
        config[..8].copy_from_slice(&sectors.to_le_bytes());
        config[CONFIG_SEG_MAX..].copy_from_slice(&SEGMENTS_MAX.to_le_bytes());
        let disk = Disk { file, sectors, read_only, flush, serial };
        Ok(BlockDevice { id: id.to_owned(), disk: Arc::new(disk), features, config })
    }
}

impl VirtioDevice for BlockDevice {
    fn device_type(&self) -> u32 {
        DEVICE_TYPE
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn features(&self) -> u64 {
        self.features
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_config_space(&self.config, offset, data);
    }

    fn activate(&mut self, activation: Activation) -> Result<Box<dyn Worker>, NeedsReset> {
        let [requests] = <[Ring; 1]>::try_from(Ring::from_activation(activation)).map_err(|_| NeedsReset)?;
        Ok(Box::new(BlockWorker::new(requests, Arc::clone(&self.disk))))
    }
}
