//! What the balloon did.

use serde::Serialize;

use super::Counter;
use super::figures::figures;

figures! {
/// Firecracker's `balloon`.
#[derive(Debug, Default, Serialize)]
pub struct BalloonMetrics {
    /// Activations that failed.
    pub activate_fails: Counter,
    /// Times that the guest put pages into the balloon.
    pub inflate_count: Counter,
    /// Statistics that came from the guest.
    pub stats_updates_count: Counter,
    /// Statistics that made no sense.
    pub stats_update_fails: Counter,
    /// Times that the guest took pages out of the balloon.
    pub deflate_count: Counter,
    /// Times that the device broke down because of the guest, or that it asked for something impossible.
    pub event_fails: Counter,
    /// Ranges of free pages that the guest reported.
    pub free_page_report_count: Counter,
    /// Bytes of them that went back to the host.
    pub free_page_report_freed: Counter,
    /// Ranges that could not be given back.
    pub free_page_report_fails: Counter,
    /// Ranges of free pages that the guest told when asked.
    pub free_page_hint_count: Counter,
    /// Bytes of them that went back to the host.
    pub free_page_hint_freed: Counter,
    /// Ranges that could not be given back.
    pub free_page_hint_fails: Counter,
}
}
