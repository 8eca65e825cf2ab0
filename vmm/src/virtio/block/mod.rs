//! The block device (virtio 1.2 section 5.2): a drive of the guest, backed by a file of the host.

mod device;
mod request;
mod worker;

pub use self::device::BlockDevice;
