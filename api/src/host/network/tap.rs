//! A tap device that stays when nobody has it open.

#![allow(unsafe_code, reason = "TUNSETIFF and TUNSETPERSIST are ioctls")]

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use crate::host::HostError;

/// `struct ifreq` of netdevice(7) as TUNSETIFF reads it.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; libc::IFNAMSIZ],
    flags: libc::c_short,
    /// The rest of the kernel's union, which is 24 bytes long.
    rest: [u8; 22],
}

/// Makes a tap; for several `queues` of one kind, and for one of another.
pub fn make(name: &str, queues: u8) -> Result<(), HostError> {
    let path = Path::new("/dev/net/tun");
    let device =
        OpenOptions::new().read(true).write(true).open(path).map_err(HostError::file("open", path))?;
    let failed = |source: io::Error| HostError::Link {
        operation: "make",
        link: name.to_owned(),
        source: Box::new(source),
    };
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_TUN_EXCL;
    let flags = if queues > 1 { flags | libc::IFF_MULTI_QUEUE } else { flags };
    let mut request = InterfaceRequest {
        name: [0; libc::IFNAMSIZ],
        flags: (flags & 0xffff) as libc::c_short,
        rest: [0; 22],
    };
    if name.len() >= libc::IFNAMSIZ {
        return Err(failed(io::ErrorKind::InvalidInput.into()));
    }
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: the descriptor is open and the request is a whole `struct ifreq` that outlives the call.
    if unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } < 0 {
        return Err(failed(io::Error::last_os_error()));
    }
    // SAFETY: the descriptor is open; the argument is a number.
    if unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETPERSIST, 1) } < 0 {
        return Err(failed(io::Error::last_os_error()));
    }
    Ok(())
}
