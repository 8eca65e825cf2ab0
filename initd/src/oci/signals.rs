//! Waiting for a container's end, while signals that reach the runtime go to the container.
#![allow(unsafe_code, reason = "signal masks and sigwaitinfo have no safe form in the crates here")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use super::foreground::Foreground;
use crate::container::signal::signal_of;
use crate::reaper::{self, Exit};

/// Waits for a child's end; the terminal whose other side came to `console` is in the foreground meanwhile.
pub fn wait(pid: i32, process: &OwnedFd, console: Option<&UnixStream>) -> io::Result<Exit> {
    let all = block_all()?;
    let foreground = console.map(Foreground::begin).transpose()?;
    loop {
        // Before each wait: what ended before the signals were held back has sent none.
        if let Some(exit) = reaper::look_for(pid)? {
            return Ok(exit);
        }
        let signal = next(&all)?;
        if let (libc::SIGWINCH, Some(foreground)) = (signal, &foreground) {
            foreground.resize();
            continue;
        }
        // A stop of the terminal's is for us and not for the container.
        if !matches!(signal, libc::SIGCHLD | libc::SIGURG | libc::SIGTTIN | libc::SIGTTOU)
            && let Some(signal) = signal_of(signal)
        {
            // It may have ended meanwhile.
            let _ = rustix::process::pidfd_send_signal(process, signal);
        }
    }
}

/// Holds all signals back, to be taken one by one.
fn block_all() -> io::Result<libc::sigset_t> {
    let mut all = MaybeUninit::uninit();
    // SAFETY: sigfillset writes to the set it gets, and cannot fail for a valid pointer.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: sigfillset has initialised all of it.
    let all = unsafe { all.assume_init() };
    // SAFETY: the set is initialised; the old mask is not asked for.
    let result = unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut()) };
    if result == 0 { Ok(all) } else { Err(io::Error::last_os_error()) }
}

/// The next signal.
fn next(all: &libc::sigset_t) -> io::Result<i32> {
    loop {
        // SAFETY: the set is initialised, and no information is asked for beyond the number.
        let signal = unsafe { libc::sigwaitinfo(all, std::ptr::null_mut()) };
        if signal > 0 {
            return Ok(signal);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
