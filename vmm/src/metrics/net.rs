//! What network interfaces did.

use serde::Serialize;

use super::Counter;
use super::figures::figures;

figures! {
/// Firecracker's `net`, for each interface and for all together. Bytes are those of Ethernet frames, without
/// the header of virtio.
#[derive(Debug, Default, Serialize)]
pub struct NetMetrics {
    /// Activations that failed.
    pub activate_fails: Counter,
    /// Times that the guest broke the interface.
    pub event_fails: Counter,
    /// Times that a frame waited for the driver to give buffers.
    pub no_rx_avail_buffer: Counter,
    /// Times that the driver found buffers used which the host's kernel had served, after an interrupt of that: an
    /// addition, with vhost alone. Of what is behind this, up to the end, the kernel tells nothing then.
    pub vhost_interrupts_count: Counter,
    /// Times that the driver told of new receive buffers.
    pub rx_queue_event_count: Counter,
    /// Times that the timer of the receive limits let frames go on.
    pub rx_event_rate_limiter_count: Counter,
    /// Times that the receive limits held frames back.
    pub rx_rate_limiter_throttled: Counter,
    /// Times that the tap told of frames.
    pub rx_tap_event_count: Counter,
    /// Bytes that the guest received.
    pub rx_bytes_count: Counter,
    /// Frames that the guest received.
    pub rx_packets_count: Counter,
    /// Frames that were longer than all buffers of the driver.
    pub rx_fails: Counter,
    /// Reads of the tap that brought a frame, and frames of the metadata service.
    pub rx_count: Counter,
    /// Reads of the tap that failed; with passt, that it has gone.
    pub tap_read_fails: Counter,
    /// Writes to the tap that failed for the host's reasons; with passt, frames to the host's loopback, and those
    /// that are sent when it has gone.
    pub tap_write_fails: Counter,
    /// Bytes that the guest sent to the tap.
    pub tx_bytes_count: Counter,
    /// Frames of the guest that are none: too short, too long, not in memory, or with a header that the host's
    /// kernel refuses.
    pub tx_malformed_frames: Counter,
    /// Writes to the tap that went well.
    pub tx_count: Counter,
    /// Frames that the guest sent to the tap.
    pub tx_packets_count: Counter,
    /// Times that the driver told of frames to send.
    pub tx_queue_event_count: Counter,
    /// Times that the timer of the transmit limits let frames go on.
    pub tx_rate_limiter_event_count: Counter,
    /// Times that the transmit limits held frames back.
    pub tx_rate_limiter_throttled: Counter,
    /// Frames with a sender's address that is not the interface's. They are sent all the same.
    pub tx_spoofed_mac_count: Counter,
}
}
