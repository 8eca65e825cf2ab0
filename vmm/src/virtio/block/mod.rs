//! The block device (virtio 1.2 section 5.2): a drive of the guest, backed by a file of the host.
//!
//! `request` says what a chain asks for. Reads, writes and flushes are `flights` of an `engine`: in a `batch` that
//! ends before the next one begins, or by `io_uring` (`uring` is the only place that names that). The rest, and all of a
//! drive with an overlay, `disk` does at once. A `worker` for each queue takes chains and gives answers; `state` is what a [`BlockHandle`] changes
//! while the guest runs.

mod batch;
mod device;
mod disk;
mod engine;
mod flights;
mod handle;
#[cfg(test)]
mod overlay_tests;
mod request;
mod state;
mod uring;
mod worker;

pub use self::device::{BlockDevice, BlockSpec};
pub use self::handle::BlockHandle;
