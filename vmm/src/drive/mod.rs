//! Back ends of drives. A format is named by the configuration and never guessed from a disk's content.

mod medium;
mod qcow2;
mod raw;
mod space;

pub use self::medium::Medium;
pub use self::qcow2::{Overlay, Transfer};
pub use self::raw::{DriveError, RawDrive};
