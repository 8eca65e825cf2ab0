//! The harness of the suites that run in real guests.
//!
//! A test starts a [`Daemon`] of its own (or a bare [`vmm`]), types what a user would type, and looks at
//! what a user would see. [`Footprint`] tells what is left over on the host. Whatever a test starts ends
//! with it, and every wait has an end.
//!
//! The suites run as root where guests boot: `cargo xtask lab` puts the binaries and the images into
//! [`ASSETS`]. A test that cannot run fails and says why.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a harness fails by panicking")]

pub mod bare;
mod daemon;
mod footprint;
pub mod programs;
pub mod root;
pub mod tap;
mod timed;
pub mod vmm;

pub use daemon::Daemon;
pub use footprint::Footprint;
pub use timed::{Finished, finish, run};

/// The folder with what `cargo xtask build` made and the images of the suites, unless the environment's
/// `BULKHEAD_ASSETS` names another.
pub const ASSETS: &str = "/bulkhead";

/// The path of an asset, as text.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn asset(name: &str) -> String {
    let folder = std::env::var("BULKHEAD_ASSETS").unwrap_or_else(|_| ASSETS.to_owned());
    let path = format!("{folder}/{name}");
    assert!(
        std::path::Path::new(&path).exists(),
        "{path} is missing: run the suites with tools/test, which carries it into the lab"
    );
    path
}
