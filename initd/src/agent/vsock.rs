//! A listening socket for the host, and for the host alone.
//!
//! The kernel's stream sockets are read and written alike whatever their family, so a connection is handed on
//! as tokio's Unix stream. A crate for vsock would bring an executor and a second set of system call wrappers.
#![allow(unsafe_code, reason = "rustix has no vsock addresses; bind and accept take a pointer to one")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use bulkhead_protocol::agent::PORT;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 64;

/// Hears the host.
pub struct Listener {
    socket: AsyncFd<OwnedFd>,
}

impl Listener {
    /// Listens on the agent's port.
    pub fn bind() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::VSOCK, SocketType::STREAM, flags, None)?;
        let address = address(libc::VMADDR_CID_ANY, PORT);
        // SAFETY: `address` lives through the call, which reads the length that is told.
        let bound = unsafe {
            libc::bind(socket.as_raw_fd(), std::ptr::from_ref(&address).cast(), length_of_address())
        };
        if bound != 0 {
            return Err(io::Error::last_os_error());
        }
        rustix::net::listen(&socket, BACKLOG)?;
        // SAFETY: the descriptor is owned by what is registered, which neither changes nor closes it before
        // the registration ends.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        Ok(Self { socket })
    }

    /// The next connection of the host's. Others are closed at once.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let accepted = self.socket.async_io(Interest::READABLE, accept).await?;
            if let (connection, libc::VMADDR_CID_HOST) = accepted {
                return UnixStream::from_std(connection.into());
            }
        }
    }
}

/// A connection and its peer's CID.
fn accept(socket: &OwnedFd) -> io::Result<(OwnedFd, u32)> {
    let mut peer = address(0, 0);
    let mut length = length_of_address();
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    let accepted = loop {
        // SAFETY: `peer` and `length` live through the call, which writes at most `length` bytes to `peer`.
        let accepted = unsafe {
            libc::accept4(socket.as_raw_fd(), std::ptr::from_mut(&mut peer).cast(), &raw mut length, flags)
        };
        if accepted >= 0 {
            break accepted;
        }
        // Vsock looks for signals before it looks whether it may wait: a child that ends is enough.
        match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => {}
            error => return Err(error),
        }
    };
    // SAFETY: the kernel has just made this descriptor for us, and nobody else has it.
    Ok((unsafe { OwnedFd::from_raw_fd(accepted) }, peer.svm_cid))
}

fn address(cid: u32, port: u32) -> libc::sockaddr_vm {
    libc::sockaddr_vm {
        svm_family: libc::sa_family_t::try_from(libc::AF_VSOCK).unwrap_or(0),
        svm_reserved1: 0,
        svm_port: port,
        svm_cid: cid,
        svm_zero: [0; 4],
    }
}

fn length_of_address() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<libc::sockaddr_vm>()).unwrap_or(0)
}
