//! A first process that is not the program: it hands signals on to it, and reaps whoever is left to it.
#![allow(unsafe_code, reason = "fork, signal sets and waiting for signals are not offered by rustix")]

use std::io;
use std::mem::MaybeUninit;
use std::process;

use bulkhead_protocol::oci::{INIT, Spec};

use crate::reaper;

/// The status of one that cannot go on.
const FAILED: i32 = 125;

/// Whether the program is to have one.
pub fn is_wanted(spec: &Spec) -> bool {
    spec.annotations.get(INIT).is_some_and(|value| value == "true")
}

/// Returns in a new process, which is to become the program. The caller becomes its parent and ends as it does,
/// without a return. Nothing but this process has threads here.
pub fn precede() -> io::Result<()> {
    let all = every_signal();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both point to live sets; the second is written by the call.
    let blocked = unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const all, before.as_mut_ptr()) };
    if blocked != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: this process has one thread, so that the new one finds no lock held.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: the set was written by the call above, which has succeeded.
            let restored =
                unsafe { libc::sigprocmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
            if restored == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        }
        program => process::exit(stay(program, &all)),
    }
}

/// Serves until the program has ended; gives its status as a shell does.
fn stay(program: libc::pid_t, signals: &libc::sigset_t) -> i32 {
    // Who waits for the program's start waits for the end of these, too.
    // SAFETY: nothing here uses a descriptor any more.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
    loop {
        // SAFETY: the set is live, and nobody wants to know more of the signal.
        let signal = unsafe { libc::sigwaitinfo(std::ptr::from_ref(signals), std::ptr::null_mut()) };
        match signal {
            -1 if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted => return FAILED,
            libc::SIGCHLD => {
                if let Some(status) = reap(program) {
                    return status;
                }
            }
            1.. => {
                // SAFETY: no memory is touched. The program has not been waited for, so that it is still there.
                unsafe { libc::kill(program, signal) };
            }
            _ => {}
        }
    }
}

/// Reaps everybody who has ended; the program's status if it is among them.
fn reap(program: libc::pid_t) -> Option<i32> {
    let ended = std::iter::from_fn(reaper::reap_any);
    // All of them, also those behind the program.
    ended.fold(None, |found, (pid, exit)| if pid == program { Some(exit.code.into()) } else { found })
}

fn every_signal() -> libc::sigset_t {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the call fills the whole set.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: it is full.
    unsafe { all.assume_init() }
}
