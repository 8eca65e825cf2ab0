//! What a drive's workers and those who change the drive while it runs share.
//!
//! Locks: each worker holds its queue's state for a turn; `configuration` is held for a moment only, so that a
//! vCPU that reads it never waits for a disk. Who holds both took the state first; nobody holds two states.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::Disk;
use super::engine::Engine;
use crate::metrics::BlockMetrics;
use crate::virtio::device::Interrupt;
use crate::virtio::limiter::Limiter;

/// The size of the configuration space that is used, in bytes (virtio 1.2 section 5.2.4).
pub const CONFIG_SIZE: usize = 60;

/// One drive, as everybody sees it.
pub struct Shared {
    /// By queue; never empty.
    states: Vec<Mutex<State>>,
    /// A queue of the current activation is broken: the others stop, too.
    broken: AtomicBool,
    configuration: Mutex<Configuration>,
    /// What is counted.
    pub metrics: Arc<BlockMetrics>,
}

/// What the requests of a queue act on and are held back by.
pub struct State {
    /// The file and its limits. Requests in flight keep the one that they started with.
    pub disk: Arc<Disk>,
    /// Holds requests back, together with those of the other queues.
    pub limiter: Limiter,
    /// What carries requests out, while no worker has it.
    pub engine: Option<Engine>,
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
    /// A drive that no driver knows yet, with a state for each queue.
    pub fn new(states: Vec<State>, configuration: Configuration, metrics: Arc<BlockMetrics>) -> Shared {
        let states = states.into_iter().map(Mutex::new).collect();
        Shared { states, broken: AtomicBool::new(false), configuration: Mutex::new(configuration), metrics }
    }

    /// How many queues there are.
    pub fn queues(&self) -> usize {
        self.states.len()
    }

    /// The state of each queue, one after the other; waits for the turn that its worker may be in.
    pub fn states(&self) -> impl Iterator<Item = MutexGuard<'_, State>> {
        self.states.iter().map(|state| state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The state of queue `index`, if there is one.
    pub fn state(&self, index: usize) -> Option<MutexGuard<'_, State>> {
        self.states.get(index).map(|state| state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a queue has been broken since the activation.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// A queue is broken, or all start anew.
    pub fn set_broken(&self, broken: bool) {
        self.broken.store(broken, Ordering::Release);
    }

    /// The configuration space.
    pub fn configuration(&self) -> MutexGuard<'_, Configuration> {
        self.configuration.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
