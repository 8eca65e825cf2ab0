//! The virtio MMIO transport, version 2 (virtio 1.2 section 4.2): a window of registers in front of a device.

mod interrupt;
mod negotiation;
mod queue_setup;
mod registers;
mod transport;

pub use self::transport::{IDLE_ACKNOWLEDGEMENT, MmioTransport, QUEUE_NOTIFY_OFFSET};
