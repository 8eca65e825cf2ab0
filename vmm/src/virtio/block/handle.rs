//! Changing a drive while the guest runs.

use std::sync::Arc;

use super::disk::Disk;
use super::state::Shared;
use crate::config::RateLimiter;
use crate::drive::Medium;

/// Reaches a drive from outside of its worker. Cheap to clone.
#[derive(Clone)]
pub struct BlockHandle(pub(super) Arc<Shared>);

impl BlockHandle {
    /// Puts another file behind the drive and tells the driver of its size. What is in flight ends on the old
    /// one.
    pub fn change_file(&self, medium: impl Into<Medium>) {
        let Some(old) = self.0.state(0).map(|state| Arc::clone(&state.disk)) else { return };
        let disk =
            Disk { medium: medium.into(), read_only: old.read_only, flush: old.flush, serial: old.serial };
        let disk = Arc::new(disk);
        self.0.states().skip(1).for_each(|mut state| state.disk = Arc::clone(&disk));
        // Held until the driver is told: it must not be another one by then.
        let Some(mut first) = self.0.state(0) else { return };
        let mut configuration = self.0.configuration();
        configuration.set_capacity(disk.sectors());
        configuration.generation = configuration.generation.wrapping_add(1);
        drop(configuration);
        first.disk = disk;
        if let Some(interrupt) = &first.interrupt {
            interrupt.config();
        }
        drop(first);
        self.0.metrics.update_count.increment();
    }

    /// Takes over the limits that `change` names.
    pub fn change_limits(&self, change: &RateLimiter) {
        for (index, mut state) in self.0.states().enumerate() {
            // The buckets are one for all.
            if index == 0 {
                state.limiter.update(change);
            } else {
                state.limiter.wake();
            }
        }
    }

    /// Puts what is still to be written to the drive's files there.
    pub fn write_back(&self) {
        let Some(disk) = self.0.state(0).map(|state| Arc::clone(&state.disk)) else { return };
        if let Medium::Overlay(overlay) = &disk.medium
            && let Err(error) = overlay.write_back()
        {
            log::error!("Cannot write {overlay:?} back: {error}");
        }
    }

    /// A change was refused.
    pub fn count_refused(&self) {
        self.0.metrics.update_fails.increment();
    }
}
