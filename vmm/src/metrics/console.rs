//! What the console device did.

use serde::Serialize;

use super::Counter;
use super::figures::figures;

figures! {
/// `console`, which Firecracker has not.
#[derive(Debug, Default, Serialize)]
pub struct ConsoleMetrics {
    /// Activations that failed.
    pub activate_fails: Counter,
    /// Times that the device broke down because of the guest.
    pub event_fails: Counter,
    /// Bytes that the guest wrote.
    pub tx_bytes_count: Counter,
    /// Bytes that the guest was given.
    pub rx_bytes_count: Counter,
}
}
