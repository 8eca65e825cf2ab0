//! Suites that run in real guests, as a user would: `tools/test` builds this and runs it in the lab.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod appliance;
mod bad_input;
mod container;
mod daemon;
mod firecracker_api;
mod limits;
mod machine;
mod network;
mod pause;
mod starts;
mod storage;
