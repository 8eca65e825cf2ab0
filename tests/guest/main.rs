//! Suites that run in real guests, as a user would: `tools/test` builds this and runs it in the lab.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod appliance;
mod bad_input;
mod balloon;
mod boot_failures;
mod connections;
mod console;
mod container;
mod copy;
mod daemon;
mod exec;
mod fctools;
mod firecracker_api;
mod firecracker_python;
mod huge_pages;
mod interface;
mod kernels;
mod limits;
mod machine;
mod metadata;
mod metrics;
mod network;
mod overlay;
mod passt;
mod pause;
mod platform;
mod power;
mod privileges;
mod registry;
mod small_kernel;
mod sources;
mod starts;
mod storage;
mod users;
mod vhost;
mod vsock;
