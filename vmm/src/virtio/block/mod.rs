//! The block device (virtio 1.2 section 5.2): a drive of the guest, backed by a file of the host.
//!
//! `request` says what a chain asks for, `disk` does it at once (a drive with an overlay on a thread of its own), `flights` by `io_uring` (`uring` is the only
//! place that names that); the `worker` takes chains and gives answers; `state` is what a [`BlockHandle`]
//! changes while the guest runs.

mod device;
mod disk;
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
