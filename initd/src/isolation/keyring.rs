//! A session keyring of the container's own (`keyrings(7)`).
#![allow(unsafe_code, reason = "keyctl(2) takes a pointer to a name; no crate here wraps it")]

use std::ffi::CString;
use std::io;

/// Joins a new session keyring of this name, and leaves the caller's. A kernel without keys has none to leave.
pub fn join_new(name: &str) -> io::Result<()> {
    let name = CString::new(name)?;
    // SAFETY: KEYCTL_JOIN_SESSION_KEYRING reads a string, which lives through the call and ends with zero.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        _ if result >= 0 => Ok(()),
        // No keys in the kernel; a filter above us; the user's quota, which is no reason not to run.
        Some(libc::ENOSYS | libc::EPERM | libc::EDQUOT) => Ok(()),
        _ => Err(error),
    }
}
