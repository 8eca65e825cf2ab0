//! What the socket device did.

use serde::Serialize;

use super::Counter;
use super::figures::figures;

figures! {
/// Firecracker's `vsock`. The guest receives (rx) and transmits (tx).
#[derive(Debug, Default, Serialize)]
pub struct VsockMetrics {
    /// Activations that failed.
    pub activate_fails: Counter,
    /// Times that the device broke down because of its receive queue.
    pub rx_queue_event_fails: Counter,
    /// Times that it broke down because of its transmit queue.
    pub tx_queue_event_fails: Counter,
    /// Times that no program of the host could be let in, for want of descriptors.
    pub muxer_event_fails: Counter,
    /// Notifications of the receive queue.
    pub rx_queue_event_count: Counter,
    /// Notifications of the transmit queue.
    pub tx_queue_event_count: Counter,
    /// Bytes of data for the guest.
    pub rx_bytes_count: Counter,
    /// Bytes of data from the guest.
    pub tx_bytes_count: Counter,
    /// Packets for the guest.
    pub rx_packets_count: Counter,
    /// Packets from the guest.
    pub tx_packets_count: Counter,
    /// Connections that began.
    pub conns_added: Counter,
    /// Those that the device ended because somebody took too long.
    pub conns_killed: Counter,
    /// Connections that are no more.
    pub conns_removed: Counter,
    /// Connections that did not begin: too many, or nobody listens. Added to Firecracker's.
    pub conns_refused: Counter,
    /// Times that a program of the host could not be given what it had not taken at once.
    pub tx_flush_fails: Counter,
    /// Times that it could not be given what the guest sent.
    pub tx_write_fails: Counter,
    /// Times that it could not be read from.
    pub rx_read_fails: Counter,
}
}
