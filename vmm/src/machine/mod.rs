//! A machine: built from what was asked, run, ended.

mod balloon;
mod builder;
mod controller;
mod devices;
mod lifecycle;
mod payload;
mod storage;

pub use self::builder::{Host, Remains};
pub use self::controller::{ControlError, Controller};
pub use self::lifecycle::State;
#[cfg(feature = "openapi")]
pub use crate::virtio::balloon::{BalloonStatistics, HintingStatus};
