//! What the metadata service did.

use serde::Serialize;

use super::Counter;
use super::figures::figures;

figures! {
/// Firecracker's `mmds`.
#[derive(Debug, Default, Serialize)]
pub struct MmdsMetrics {
    /// Frames of guests that were for the service.
    pub rx_accepted: Counter,
    /// Of those, frames that it could not use.
    pub rx_accepted_err: Counter,
    /// Of those, frames that were neither ARP nor TCP.
    pub rx_accepted_unusual: Counter,
    /// Reads of metadata with a token that is none.
    pub rx_invalid_token: Counter,
    /// Reads of metadata without a token.
    pub rx_no_token: Counter,
    /// Frames that the service took in.
    pub rx_count: Counter,
    /// Bytes of its frames to guests.
    pub tx_bytes: Counter,
    /// Its frames that guests got.
    pub tx_count: Counter,
    /// Its frames that guests could not get.
    pub tx_errors: Counter,
    /// Its frames to guests.
    pub tx_frames: Counter,
    /// Connections that guests made.
    pub connections_created: Counter,
    /// Connections that are over.
    pub connections_destroyed: Counter,
}
}
