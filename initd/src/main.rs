//! The program `bulkhead-initd`, which is also `bulkhead-oci` and `/init`.
//!
//! The entry is the C library's: what the standard library does before its own `main` (a handler for overflows of
//! the stack, a look at the three streams) costs every container a score of system calls, twice.
#![cfg_attr(not(test), no_main)]
#![allow(unsafe_code, reason = "the entry of a program has a name that no other function may have")]

use std::ffi::{c_char, c_int};

/// The entry. The arguments are read by the standard library, which keeps them from the C library's start.
// SAFETY: no other function is called main: the standard library's is left out where this one is compiled.
#[cfg_attr(not(test), unsafe(no_mangle))]
extern "C" fn main(_count: c_int, _words: *const *const c_char) -> c_int {
    bulkhead_initd::run().into()
}
