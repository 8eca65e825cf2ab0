//! A machine: built from what was asked, run, ended.

mod builder;
pub mod console_input;
mod devices;
mod lifecycle;
mod payload;

pub use self::builder::{BuildError, Host, Machine, Remains, build};
pub use self::lifecycle::{Lifecycle, State};
