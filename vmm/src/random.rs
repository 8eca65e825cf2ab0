//! Random bytes from the host's kernel.
#![allow(unsafe_code, reason = "the C library's getrandom takes a pointer")]

use std::io;

/// Fills `into` with random bytes, fit for keys.
pub fn fill(mut into: &mut [u8]) -> io::Result<()> {
    while !into.is_empty() {
        // SAFETY: the pointer and the length are those of one live slice, which the kernel fills.
        let count = unsafe { libc::getrandom(into.as_mut_ptr().cast(), into.len(), 0) };
        match usize::try_from(count) {
            Ok(count) => into = into.get_mut(count..).unwrap_or_default(),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}
