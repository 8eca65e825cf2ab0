//! What a drive's worker and those who change the drive while it runs share.
//!
//! Locks: the worker holds `state` for a turn; `configuration` is held for a moment only, so that a vCPU that
//! reads it never waits for a disk. Who holds both took `state` first.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::Disk;
use super::uring::Uring;
use crate::metrics::BlockMetrics;
use crate::virtio::device::Interrupt;
use crate::virtio::limiter::Limiter;

/// The size of the configuration space that is used, in bytes (virtio 1.2 section 5.2.4).
pub const CONFIG_SIZE: usize = 60;

/// One drive, as everybody sees it.
pub struct Shared {
    state: Mutex<State>,
    configuration: Mutex<Configuration>,
    /// What is counted.
    pub metrics: Arc<BlockMetrics>,
}

/// What requests act on and are held back by.
pub struct State {
    /// The file and its limits. Requests in flight keep the one that they started with.
    pub disk: Arc<Disk>,
    /// Holds requests back.
    pub limiter: Limiter,
    /// The ring of a drive with `io_uring`, while no worker has it.
    pub ring: Option<Uring>,
    /// The way to the driver of the current activation.
    pub interrupt: Option<Arc<dyn Interrupt>>,
}

/// The configuration space, and a number that changes with it.
pub struct Configuration {
    /// How often it has changed.
    pub generation: u32,
    /// Its bytes.
    pub space: [u8; CONFIG_SIZE],
}

impl Configuration {
    /// Sets the number of sectors.
    pub fn set_capacity(&mut self, sectors: u64) {
        for (to, from) in self.space.iter_mut().zip(sectors.to_le_bytes()) {
            *to = from;
        }
    }
}

impl Shared {
    /// A drive that no driver knows yet.
    pub fn new(state: State, configuration: Configuration, metrics: Arc<BlockMetrics>) -> Shared {
        Shared { state: Mutex::new(state), configuration: Mutex::new(configuration), metrics }
    }

    /// The state; waits for the turn that the worker may be in.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The configuration space.
    pub fn configuration(&self) -> MutexGuard<'_, Configuration> {
        self.configuration.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
