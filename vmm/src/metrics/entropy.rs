//! What the entropy device did.

use serde::Serialize;

use super::Counter;
use super::figures::figures;

figures! {
/// Firecracker's `entropy`.
#[derive(Debug, Default, Serialize)]
pub struct EntropyMetrics {
    /// Activations that failed.
    pub activate_fails: Counter,
    /// Times that the device broke down because of the guest.
    pub entropy_event_fails: Counter,
    /// Requests that were answered.
    pub entropy_event_count: Counter,
    /// Bytes given.
    pub entropy_bytes: Counter,
    /// Times that the host's kernel gave none.
    pub host_rng_fails: Counter,
    /// Times that a request had to wait for its limits.
    pub entropy_rate_limiter_throttled: Counter,
    /// Times that the limits' timer let requests go on.
    pub rate_limiter_event_count: Counter,
}
}
