//! What the block device is.

use std::sync::Arc;

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_MQ, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX,
    VIRTIO_BLK_F_WRITE_ZEROES,
};

use super::batch::Batch;
use super::disk::{Disk, SECTOR_SIZE, SERIAL_SIZE};
use super::engine::Engine;
use super::flights::Flights;
use super::handle::BlockHandle;
use super::request::{DISCARD_EXTENTS_MAX, DISCARD_SECTORS_MAX, ZEROES_EXTENTS_MAX, ZEROES_SECTORS_MAX};
use super::state::{CONFIG_SIZE, Configuration, Shared, State};
use super::uring::Uring;
use super::worker::BlockWorker;
use crate::config::RateLimiter;
use crate::drive::Medium;
use crate::metrics::BlockMetrics;
use crate::virtio::device::{Activation, NeedsReset, Share, VirtioDevice, read_config_space};
use crate::virtio::error::VirtioError;
use crate::virtio::features;
use crate::virtio::limiter::Limiter;
use crate::virtio::ring::Ring;

/// Virtio 1.2 section 5.2.
const DEVICE_TYPE: u32 = 2;
const QUEUE_SIZE: u16 = 256;
/// The most queues: one for each vCPU of the largest machine.
const QUEUES_MAX: usize = 32;
const QUEUE_SIZES: [u16; QUEUES_MAX] = [QUEUE_SIZE; QUEUES_MAX];
/// How many data buffers a request may have: header and status take two descriptors of a chain, which is
/// at most as long as the queue.
const SEGMENTS_MAX: u32 = QUEUE_SIZE as u32 - 2;

/// What a drive shall be.
#[derive(Debug, Clone, Copy, Default)]
pub struct BlockSpec {
    /// Refuse what changes the file.
    pub read_only: bool,
    /// The guest may ask for its writes to be made durable, and is obeyed; without, it is not offered that.
    pub flush: bool,
    /// Serve by `io_uring` instead of a system call a request.
    pub uring: bool,
    /// Hold requests back.
    pub limits: RateLimiter,
    /// How many queues, each with a thread of its own; there is always one.
    pub queues: u8,
}

/// A drive.
pub struct BlockDevice {
    id: String,
    features: u64,
    uring: bool,
    shared: Arc<Shared>,
}

impl BlockDevice {
    /// A drive by the name of `id` (which is its serial too, cut to 20 bytes) whose sectors are in `medium`.
    pub fn new(
        id: &str,
        medium: impl Into<Medium>,
        spec: BlockSpec,
        metrics: Arc<BlockMetrics>,
    ) -> Result<BlockDevice, VirtioError> {
        let mut serial = [0; SERIAL_SIZE];
        for (to, from) in serial.iter_mut().zip(id.bytes()) {
            *to = from;
        }
        let BlockSpec { read_only, flush, uring, limits, queues } = spec;
        let no_limiter = |source| VirtioError::Limiter { device: id.to_owned(), source };
        let mut limiter = Limiter::new(&limits).map_err(no_limiter)?;
        let medium = medium.into();
        let granularity = medium.granularity();
        let disk = Arc::new(Disk { medium, read_only, flush, serial });
        let mut features = features::COMMON | 1 << VIRTIO_BLK_F_SEG_MAX;
        if read_only {
            features |= 1 << VIRTIO_BLK_F_RO;
        } else {
            features |= 1 << VIRTIO_BLK_F_DISCARD | 1 << VIRTIO_BLK_F_WRITE_ZEROES;
        }
        if flush {
            features |= 1 << VIRTIO_BLK_F_FLUSH;
        }
        let queues = usize::from(queues).clamp(1, QUEUES_MAX);
        if queues > 1 {
            features |= 1 << VIRTIO_BLK_F_MQ;
        }
        let configuration = configuration(disk.sectors(), read_only, granularity, queues);
        let mut states = Vec::new();
        for _ in 0..queues {
            let next = limiter.share().map_err(no_limiter)?;
            let limiter = std::mem::replace(&mut limiter, next);
            let engine = Some(new_engine(id, uring)?);
            states.push(State { disk: Arc::clone(&disk), limiter, engine, interrupt: None });
        }
        let shared = Arc::new(Shared::new(states, configuration, metrics));
        Ok(BlockDevice { id: id.to_owned(), features, uring, shared })
    }

    /// One over an open file, counted for nobody.
    #[cfg(test)]
    pub fn of(file: &std::fs::File, spec: BlockSpec) -> BlockDevice {
        let raw = crate::drive::RawDrive::from_file(file.try_clone().unwrap()).unwrap();
        BlockDevice::new("rootfs", raw, spec, Arc::default()).unwrap()
    }

    /// The way to change it while it runs.
    pub fn handle(&self) -> BlockHandle {
        BlockHandle(Arc::clone(&self.shared))
    }
}

fn new_engine(id: &str, uring: bool) -> Result<Engine, VirtioError> {
    if !uring {
        return Ok(Engine::Batch(Batch::new()));
    }
    let ring = Uring::new(QUEUE_SIZE.into());
    ring.map(Engine::Uring).map_err(|source| VirtioError::Uring { device: id.to_owned(), source })
}

/// The configuration space (virtio 1.2 section 5.2.4). There is no block size and no topology: each field
/// costs the driver three exits when it starts, and requests of less than a page go through the host's cache.
/// Discards of less than `granularity` bytes free nothing; the driver need not send them.
fn configuration(sectors: u64, read_only: bool, granularity: u64, queues: usize) -> Configuration {
    let mut configuration = Configuration { generation: 0, space: [0; CONFIG_SIZE] };
    configuration.set_capacity(sectors);
    let mut fields = vec![(12, SEGMENTS_MAX)];
    if queues > 1 {
        // `num_queues`, 16 bits at 34, behind `writeback` and a byte that nobody uses.
        fields.push((32, (queues as u32) << 16));
    }
    if !read_only {
        fields.extend([
            (36, DISCARD_SECTORS_MAX),
            (40, DISCARD_EXTENTS_MAX),
            (44, (granularity / SECTOR_SIZE) as u32),
            (48, ZEROES_SECTORS_MAX),
            (52, ZEROES_EXTENTS_MAX),
            // `write_zeroes_may_unmap`, a byte.
            (56, 1),
        ]);
    }
    for (offset, value) in fields {
        for (to, from) in configuration.space.iter_mut().skip(offset).zip(value.to_le_bytes()) {
            *to = from;
        }
    }
    configuration
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
        QUEUE_SIZES.get(..self.shared.queues()).unwrap_or(&QUEUE_SIZES)
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_config_space(&self.shared.configuration().space, offset, data);
    }

    fn write_config(&mut self, _offset: u64, _data: &[u8]) {
        self.shared.metrics.cfg_fails.increment();
    }

    fn config_generation(&self) -> u32 {
        self.shared.configuration().generation
    }

    /// A request to a disk that does not answer keeps nobody waiting but its own queue.
    fn threads(&self) -> usize {
        self.shared.queues()
    }

    fn activate(&mut self, activation: Activation<'_>) -> Result<Vec<Share>, NeedsReset> {
        let failed = || {
            self.shared.metrics.activate_fails.increment();
            NeedsReset
        };
        let interrupt = Arc::clone(&activation.interrupt);
        let memory = activation.memory.clone();
        self.shared.set_broken(false);
        let mut shares = Vec::new();
        for (index, requests) in Ring::from_activation(activation).into_iter().enumerate() {
            let mut state = self.shared.state(index).ok_or_else(failed)?;
            // The engine is back from the last worker, unless the kernel lost it.
            let engine = state.engine.take().map_or_else(|| new_engine(&self.id, self.uring), Ok);
            let flights = Flights::new(engine.map_err(|_| failed())?, memory.clone());
            state.interrupt = Some(Arc::clone(&interrupt));
            drop(state);
            let worker = Box::new(BlockWorker::new(index, requests, flights, Arc::clone(&self.shared)));
            shares.push(Share { worker, queues: index..index + 1, used: None });
        }
        Ok(shares)
    }
}
