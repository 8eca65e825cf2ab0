//! Back ends of network interfaces.

mod tap;

pub use self::tap::{Offload, Tap};

#[cfg(test)]
pub use self::tap::tests::in_own_network;
