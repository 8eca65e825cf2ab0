//! What a persistent memory device did.

use serde::Serialize;

use super::Counter;
use super::figures::figures;

figures! {
/// Firecracker's `pmem` and `pmem_ID`; what it does not have is named at its end.
#[derive(Debug, Default, Serialize)]
pub struct PmemMetrics {
    /// Activations that failed.
    pub activate_fails: Counter,
    /// Writes of the driver to the configuration space, which are ignored.
    pub cfg_fails: Counter,
    /// Requests that failed, and breakdowns because of the guest.
    pub event_fails: Counter,
    /// Notifications by the driver.
    pub queue_event_count: Counter,
    /// Times that a flush had to wait for its limits.
    pub rate_limiter_throttled_events: Counter,
    /// Times that the limits' timer let flushes go on.
    pub rate_limiter_event_count: Counter,
    /// Not Firecracker's: flushes of the file; requests that wait together share one.
    pub flush_count: Counter,
}
}
