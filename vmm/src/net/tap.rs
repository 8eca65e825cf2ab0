//! A tap: an Ethernet interface of the host whose other end is a descriptor.

#![allow(unsafe_code, reason = "taps are set up with ioctl, which takes raw pointers")]

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, Ordering};

use thiserror::Error;

const CONTROL: &str = "/dev/net/tun";
/// The longest name of an interface (`IFNAMSIZ` less the zero).
const NAME_MAX: usize = libc::IFNAMSIZ - 1;
/// The header of virtio 1.x, which has room for the number of merged buffers.
const HEADER_SIZE: libc::c_int = 12;

/// Why a tap cannot be opened.
#[derive(Debug, Error)]
pub enum TapError {
    /// No interface has such a name.
    #[error("'{0}' is no name of a network interface")]
    Name(String),
    /// It was not made.
    #[error("There is no network interface {0}")]
    Missing(String),
    /// Another process has it.
    #[error("Tap {0} is in use by another process")]
    Taken(String),
    /// It is an interface of another kind, or a tap for several queues.
    #[error("Network interface {0} is not a tap with one queue")]
    Kind(String),
    /// It is an interface of another kind, or a tap for one queue.
    #[error("Network interface {0} is not a tap for several queues (multi_queue)")]
    OneQueue(String),
    /// The kernel gives no more queues.
    #[error("Tap {0} has not that many queues, or another process has them")]
    Full(String),
    /// The host has no taps, or not for us.
    #[error("Cannot open /dev/net/tun for tap {name}")]
    Control {
        /// The tap.
        name: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It cannot be attached to or set up.
    #[error("Cannot attach to tap {name}")]
    Attach {
        /// The tap.
        name: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// What the guest finishes itself in frames that it receives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offload {
    /// Checksums.
    pub checksum: bool,
    /// Cutting TCP over IPv4 into segments.
    pub tso4: bool,
    /// The same over IPv6.
    pub tso6: bool,
    /// Cutting UDP into fragments.
    pub ufo: bool,
}

/// An open tap, or one queue of it; never waits.
#[derive(Debug)]
pub struct Tap {
    file: File,
    /// Whether the kernel gives it frames: always, but for further queues.
    attached: AtomicBool,
    /// Tests put a socket in the tap's place, which knows no offloads.
    offloads: bool,
}

impl Tap {
    /// Opens the existing tap `name` of the network namespace that this thread is in.
    pub fn open(name: &str) -> Result<Tap, TapError> {
        if !exists(name)? {
            return Err(TapError::Missing(name.to_owned()));
        }
        Tap::attach(name, 0)
    }

    /// Opens `count` queues of the tap `name`. All but the first get no frames until they are switched on.
    pub fn open_queues(name: &str, count: u8) -> Result<Vec<Tap>, TapError> {
        if count == 1 {
            return Ok(vec![Tap::open(name)?]);
        }
        if !exists(name)? {
            return Err(TapError::Missing(name.to_owned()));
        }
        let mut queues = Vec::new();
        for number in 0..count {
            let queue = Tap::attach(name, libc::IFF_MULTI_QUEUE).map_err(|error| match error {
                TapError::Kind(name) => TapError::OneQueue(name),
                TapError::Attach { name, source } if source.raw_os_error() == Some(libc::E2BIG) => {
                    TapError::Full(name)
                }
                other => other,
            })?;
            queue.switch(number == 0).map_err(|source| TapError::Attach { name: name.to_owned(), source })?;
            queues.push(queue);
        }
        Ok(queues)
    }

    /// Lets the kernel give this queue frames, or none. What waited in it is lost when it is switched off.
    pub fn switch(&self, on: bool) -> io::Result<()> {
        if self.attached.load(Ordering::Acquire) == on || !self.offloads {
            return Ok(());
        }
        // SAFETY: an ifreq is integers and bytes, for which zeros are valid.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        let flag = if on { libc::IFF_ATTACH_QUEUE } else { libc::IFF_DETACH_QUEUE };
        request.ifr_ifru.ifru_flags = flag as libc::c_short;
        // SAFETY: TUNSETQUEUE takes a pointer to an ifreq; this one is live.
        check(unsafe { libc::ioctl(self.file.as_raw_fd(), libc::TUNSETQUEUE, &raw mut request) })?;
        self.attached.store(on, Ordering::Release);
        Ok(())
    }

    /// Attaches to the tap `name`, with further flags; the kernel makes it if it is missing and we may.
    fn attach(name: &str, more: libc::c_int) -> Result<Tap, TapError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(CONTROL)
            .map_err(|source| TapError::Control { name: name.to_owned(), source })?;
        let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | more;
        // SAFETY: an ifreq is integers and bytes, for which zeros are valid.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(NAME_MAX)) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = flags as libc::c_short;
        // SAFETY: TUNSETIFF takes a pointer to an ifreq; this one is live and its name ends with a zero.
        check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) }).map_err(
            |source| match source.raw_os_error() {
                Some(libc::EBUSY) => TapError::Taken(name.to_owned()),
                Some(libc::EINVAL) => TapError::Kind(name.to_owned()),
                _ => TapError::Attach { name: name.to_owned(), source },
            },
        )?;
        let size = HEADER_SIZE;
        // SAFETY: TUNSETVNETHDRSZ takes a pointer to an int, which is live.
        check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const size) })
            .map_err(|source| TapError::Attach { name: name.to_owned(), source })?;
        Ok(Tap { file, attached: AtomicBool::new(true), offloads: true })
    }

    /// Tells the kernel what the guest finishes itself. Nothing, until this is called.
    pub fn set_offload(&self, offload: Offload) -> io::Result<()> {
        if !self.offloads {
            return Ok(());
        }
        let flag = |on: bool, flag: libc::c_uint| if on { flag } else { 0 };
        let segments = flag(offload.checksum, libc::TUN_F_CSUM)
            | flag(offload.tso4, libc::TUN_F_TSO4)
            | flag(offload.tso6, libc::TUN_F_TSO6);
        // Kernels that forgot UDP fragmentation refuse it; then they do it themselves, as without it.
        self.set_flags(segments | flag(offload.ufo, libc::TUN_F_UFO)).or_else(|_| self.set_flags(segments))
    }

    /// The kernel's end of it.
    pub fn file(&self) -> &File {
        &self.file
    }

    fn set_flags(&self, flags: libc::c_uint) -> io::Result<()> {
        // SAFETY: TUNSETOFFLOAD takes its flags by value.
        check(unsafe { libc::ioctl(self.file.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(flags)) })
    }

    /// Any descriptor that keeps packets apart, in a tap's place.
    #[cfg(test)]
    pub fn from_socket(socket: impl Into<std::os::fd::OwnedFd>) -> Tap {
        Tap { file: File::from(socket.into()), attached: AtomicBool::new(true), offloads: false }
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for Tap {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

/// Whether this thread's network namespace has an interface `name`.
fn exists(name: &str) -> Result<bool, TapError> {
    let bad = || TapError::Name(name.to_owned());
    let odd = |byte: u8| byte == b'/' || byte == b':' || byte == b'%' || byte.is_ascii_whitespace();
    if name.is_empty() || name.len() > NAME_MAX || name == "." || name == ".." || name.bytes().any(odd) {
        return Err(bad());
    }
    let name = CString::new(name).map_err(|_| bad())?;
    // SAFETY: the pointer is to a live string that ends with a zero.
    Ok(unsafe { libc::if_nametoindex(name.as_ptr()) } != 0)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
#[path = "tap_tests.rs"]
pub mod tests;
