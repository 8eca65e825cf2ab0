//! Back ends of drives. A format is named by the configuration and never guessed from a disk's content.

mod raw;
mod space;

pub use self::raw::{DriveError, RawDrive};
