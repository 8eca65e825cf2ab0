//! Back ends of network interfaces.
