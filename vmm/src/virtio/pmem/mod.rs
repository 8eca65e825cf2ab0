//! The persistent memory device (virtio 1.2 section 5.19): a file of the host as memory of the guest.
//!
//! The guest reads and writes the file without this process; what comes through the queue are requests to make
//! durable what was written.

mod device;
mod worker;

pub use self::device::{PmemDevice, PmemHandle, PmemRegion};
