//! Freestanding guests of a few hundred bytes on this host's own `/dev/kvm`, whatever stands behind it:
//! what the program does when a guest writes, ends, floods or breaks. Without `/dev/kvm` they fail.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "everything here is a test: a panic is how it fails"
)]

mod code;
mod ending;
mod gathered;
mod hostile;
mod pause;
mod requests;
mod run;
mod seen;
mod storage;
