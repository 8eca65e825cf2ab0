//! Virtio devices (OASIS virtio 1.2): the traits of a device, the MMIO transport, one folder a device.
//!
//! From below: `chain` reads what the driver wrote, `span` and `io_vectors` move bytes, `ring` takes and
//! returns chains, a device's `worker` decides what they mean, `worker_loop` wakes it, `mmio` is what the
//! guest sees of it all.

pub mod balloon;
pub mod block;
pub mod console;
pub mod device;
pub mod error;
pub mod limiter;
pub mod mmio;
pub mod net;
pub mod pmem;
pub mod rng;
pub mod vsock;
pub mod worker_loop;

mod chain;
mod features;
mod io_vectors;
mod ring;
mod span;

#[cfg(test)]
mod driver;
#[cfg(test)]
mod fuzz_tests;

pub use self::error::VirtioError;
