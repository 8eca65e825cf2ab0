//! The console device (virtio 1.2 section 5.3) with one port: the guest's console at the price of one exit a
//! write, where COM1 takes one a byte.

mod device;
mod typed;
mod worker;

pub use self::device::ConsoleDevice;
pub use self::typed::Typed;
