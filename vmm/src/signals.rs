//! Signals that tell the process to end, as events on the devices' loop.
#![allow(unsafe_code, reason = "signal masks and signalfd")]

use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::mpsc::Sender;

use crate::vcpu::Ending;
use crate::virtio::VirtioError;
use crate::virtio::worker_loop::WorkerLoopHandle;

const ENDING: [libc::c_int; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];

/// The ending signals, blocked for this thread and every one that it starts later.
pub struct Signals {
    descriptor: OwnedFd,
}

impl Signals {
    /// Blocks the signals and makes a descriptor of them. Call it before any other thread exists.
    pub fn block() -> io::Result<Self> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset initializes the whole set.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        for signal in ENDING {
            // SAFETY: The set is initialized and the number is a signal's.
            unsafe { libc::sigaddset(set.as_mut_ptr(), signal) };
        }
        // SAFETY: The set is initialized; the old mask is not asked for.
        let failed = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()) };
        if failed != 0 {
            return Err(io::Error::from_raw_os_error(failed));
        }
        // A file that may not grow further gives an error to the guest instead of an end to the process.
        // SAFETY: To ignore a signal runs no code of ours.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        // SAFETY: The set is initialized; -1 asks for a new descriptor.
        let descriptor = unsafe { libc::signalfd(-1, set.as_ptr(), libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: A fresh descriptor that nothing else owns.
        Ok(Self { descriptor: unsafe { OwnedFd::from_raw_fd(descriptor) } })
    }

    /// Reports the first signal that comes.
    pub fn listen(self, worker_loop: &WorkerLoopHandle, endings: Sender<Ending>) -> Result<(), VirtioError> {
        let mut file = File::from(self.descriptor);
        let descriptor = file.as_raw_fd();
        worker_loop.add_reader(
            descriptor,
            Box::new(move || {
                let mut info = [0u8; size_of::<libc::signalfd_siginfo>()];
                if file.read_exact(&mut info).is_err() {
                    return true;
                }
                // `ssi_signo` is the first field.
                let number = info.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
                // Nobody hears it only when the process ends anyway.
                let _ = endings.send(Ending::Signal(number));
                false
            }),
        )
    }
}
