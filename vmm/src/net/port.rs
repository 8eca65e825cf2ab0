//! The host's end of a network interface, of whichever kind.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Offload, Passt, Tap};

/// The host's end of a network interface.
pub enum Port {
    /// An interface of the host's kernel, which knows offloads.
    Tap(Tap),
    /// A process that makes sockets of frames. It is in the middle of a stream, also between two drivers.
    Passt(Mutex<Passt>),
}

impl Port {
    /// passt, behind this connection.
    pub fn passt(passt: Passt) -> Port {
        Port::Passt(Mutex::new(passt))
    }

    /// Whether checksums and segments may be left to it.
    pub fn offloads(&self) -> bool {
        matches!(self, Port::Tap(_))
    }

    /// Tells it what the guest finishes itself.
    pub fn set_offload(&self, offload: Offload) -> io::Result<()> {
        match self {
            Port::Tap(tap) => tap.set_offload(offload),
            Port::Passt(_) => Ok(()),
        }
    }

    /// Lets the host give frames by this end, or none, where an interface has several.
    pub fn switch(&self, on: bool) -> io::Result<()> {
        match self {
            Port::Tap(tap) => tap.switch(on),
            Port::Passt(_) => Ok(()),
        }
    }

    /// What becomes readable with the next frame; None when none will come.
    pub fn frames(&self) -> Option<RawFd> {
        match self {
            Port::Tap(tap) => Some(tap.as_raw_fd()),
            Port::Passt(passt) => lock(passt).frames(),
        }
    }

    /// What becomes readable when it takes more; None while nothing waits for that.
    pub fn room(&self) -> Option<RawFd> {
        match self {
            Port::Tap(_) => None,
            Port::Passt(passt) => lock(passt).room(),
        }
    }

    /// Whether the longest frame can be sent now.
    pub fn has_room(&self) -> bool {
        match self {
            Port::Tap(_) => true,
            Port::Passt(passt) => lock(passt).has_room(),
        }
    }

    /// Passes on what was gathered to be sent together.
    pub fn flush(&self) {
        if let Port::Passt(passt) = self {
            lock(passt).flush();
        }
    }
}

/// passt, for as long as one frame takes.
pub fn lock(passt: &Mutex<Passt>) -> MutexGuard<'_, Passt> {
    passt.lock().unwrap_or_else(PoisonError::into_inner)
}
