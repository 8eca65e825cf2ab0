//! The system calls on Unix sockets that the standard library has no safe way to.

#![allow(unsafe_code, reason = "socket, bind, connect and recv with flags take raw pointers")]

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// How many connections may wait to be accepted.
const BACKLOG: libc::c_int = 128;

/// Listens on a new socket file that only its owner may use, from its first moment on. Fails if the path
/// exists. Nothing about the socket waits.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    let file = File::from(socket()?);
    // Linux gives the file that `bind` makes the mode of the socket (less the umask).
    file.set_permissions(Permissions::from_mode(0o600))?;
    let (address, length) = address(path)?;
    // SAFETY: the address is a live sockaddr_un, `length` bytes of which are initialized.
    check(unsafe { libc::bind(file.as_raw_fd(), (&raw const address).cast(), length) })?;
    // SAFETY: no pointers; the descriptor is ours.
    check(unsafe { libc::listen(file.as_raw_fd(), BACKLOG) })?;
    Ok(UnixListener::from(OwnedFd::from(file)))
}

/// Connects at once or not at all: a listener whose backlog is full refuses. Nothing about the socket waits.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    let socket = socket()?;
    let (address, length) = address(path)?;
    // SAFETY: the address is a live sockaddr_un, `length` bytes of which are initialized.
    check(unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) })?;
    Ok(UnixStream::from(socket))
}

/// What has arrived, without taking it away.
pub fn peek(stream: &UnixStream, into: &mut [u8]) -> io::Result<usize> {
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: pointer and length are those of one live slice.
    let count = unsafe { libc::recv(stream.as_raw_fd(), into.as_mut_ptr().cast(), into.len(), flags) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

fn socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers.
    let descriptor = unsafe { libc::socket(libc::AF_UNIX, kind, 0) };
    check(descriptor)?;
    // SAFETY: the kernel has just given us this descriptor and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn address(path: &Path) -> io::Result<(libc::sockaddr_un, libc::socklen_t)> {
    let bytes = path.as_os_str().as_bytes();
    let mut address =
        libc::sockaddr_un { sun_family: libc::AF_UNIX as libc::sa_family_t, sun_path: [0; 108] };
    // One byte stays zero; an empty path would be an abstract name.
    if bytes.is_empty() || bytes.len() >= address.sun_path.len() || bytes.contains(&0) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a path of 1 to 107 bytes"));
    }
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    Ok((address, size_of::<libc::sockaddr_un>() as libc::socklen_t))
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
