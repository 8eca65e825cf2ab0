//! Back ends of network interfaces.

mod passt;
mod port;
mod tap;
mod vhost;

pub use self::passt::{Lost, Passt, Sent};
pub use self::port::{Port, lock};
pub use self::tap::{Offload, Tap};
pub use self::vhost::{Served, Signals, Vhost, VhostError};

#[cfg(test)]
pub use self::tap::tests::in_own_network;
