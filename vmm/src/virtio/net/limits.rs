//! How fast an interface may be, and the way to change that while it runs.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::{NetworkInterface, NetworkInterfaceChange};
use crate::virtio::limiter::Limiter;

/// The limits of both directions. They outlive a reset of the device: a guest gains nothing by one.
pub struct Limits {
    /// What the guest may receive.
    pub receive: Limiter,
    /// What the guest may send.
    pub transmit: Limiter,
}

/// Limits that the worker and an [`InterfaceHandle`] share. The worker locks them once a turn.
#[derive(Clone)]
pub struct SharedLimits(Arc<Mutex<Limits>>);

impl SharedLimits {
    /// The limits that `spec` asks for. Fails when the host has no timers for them.
    pub fn new(spec: &NetworkInterface) -> io::Result<SharedLimits> {
        let receive = Limiter::new(&spec.rx_rate_limiter.unwrap_or_default())?;
        let transmit = Limiter::new(&spec.tx_rate_limiter.unwrap_or_default())?;
        Ok(SharedLimits(Arc::new(Mutex::new(Limits { receive, transmit }))))
    }

    /// The limits, for a turn.
    pub fn lock(&self) -> MutexGuard<'_, Limits> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Changes an interface that runs.
pub struct InterfaceHandle {
    limits: SharedLimits,
}

impl InterfaceHandle {
    pub(super) fn new(limits: SharedLimits) -> InterfaceHandle {
        InterfaceHandle { limits }
    }

    /// Takes over the buckets that `change` names, full.
    pub fn update(&self, change: &NetworkInterfaceChange) {
        let mut limits = self.limits.lock();
        if let Some(change) = &change.rx_rate_limiter {
            limits.receive.update(change);
        }
        if let Some(change) = &change.tx_rate_limiter {
            limits.transmit.update(change);
        }
    }
}
