//! The socket device (virtio 1.2 section 5.10), with Firecracker's way to Unix sockets of the host: who
//! connects to the device's socket writes `CONNECT port\n` and gets `OK port\n` when something in the guest
//! accepts; what the guest connects to on port N of the host (CID 2) is the socket with `_N` appended.
//!
//! `packet` is the wire, `connection` one stream, `outlet` its way out of the guest, `muxer` all of them,
//! `estate` what is left of them when the guest is gone, `greeting` a host's program that has not said yet where
//! it wants to, `poller` the system
//! calls, `worker` the queues.

mod connection;
mod device;
mod estate;
mod greeting;
mod muxer;
mod outlet;
mod packet;
mod poller;
mod worker;

pub use self::device::VsockDevice;
