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
        let medium = medium.into();
        let mut state = self.0.state();
        let old = &state.disk;
        let disk = Disk { medium, read_only: old.read_only, flush: old.flush, serial: old.serial };
        let sectors = disk.sectors();
        state.disk = Arc::new(disk);
        let mut configuration = self.0.configuration();
        configuration.set_capacity(sectors);
        configuration.generation = configuration.generation.wrapping_add(1);
        drop(configuration);
        if let Some(interrupt) = &state.interrupt {
            interrupt.config();
        }
        self.0.metrics.update_count.increment();
    }

    /// Takes over the limits that `change` names.
    pub fn change_limits(&self, change: &RateLimiter) {
        self.0.state().limiter.update(change);
    }

    /// Puts what is still to be written to the drive's files there.
    pub fn write_back(&self) {
        let disk = Arc::clone(&self.0.state().disk);
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
