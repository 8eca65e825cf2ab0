//! The entropy device (virtio 1.2 section 5.4): random bytes from the host's kernel.

mod device;
mod worker;

pub use self::device::RngDevice;
