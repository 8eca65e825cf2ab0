//! Firecracker's API on a Unix socket. Parse, call, render: what a request means is `machine::Controller`'s.
//!
//! One thread, one connection task each; [`MAX_CONNECTIONS`] at a time, [`PATIENCE`] for a request to
//! arrive whole, a limit on its body.

mod answer;
mod endpoint;
#[cfg(feature = "openapi")]
pub mod openapi;
mod route;
mod server;

mod actions;
mod balloon;
mod boot_source;
mod console;
mod cpu_config;
mod drives;
mod entropy;
mod instance;
mod logger;
mod machine_config;
mod metrics;
mod mmds;
mod network_interfaces;
mod pmem;
mod serial;
mod smbios;
mod version;
mod vm;
mod vm_config;
mod vsock;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use self::server::ApiServer;

/// Firecracker's limit.
const MAX_CONNECTIONS: usize = 10;
/// How long a request may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the API is not served.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The socket's path is taken, or not for us.
    #[error("Cannot open the API socket at {0}; check that it is not already used")]
    Bind(PathBuf, #[source] io::Error),
    /// No thread, or no runtime on it.
    #[error("Cannot start the thread of the API")]
    Thread(#[source] io::Error),
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
