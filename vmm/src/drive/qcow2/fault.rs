//! Why a file is no overlay.

use std::io;
use std::path::PathBuf;

/// Why a file is no overlay of a drive's base.
#[derive(Debug, thiserror::Error)]
pub enum OverlayFault {
    /// The host fails it.
    #[error("It cannot be read")]
    Read(#[from] io::Error),
    /// Another one writes to it.
    #[error("It is in use")]
    InUse,
    /// It cannot grow.
    #[error("It is a block device, and not a regular file")]
    BlockDevice,
    /// It is something else.
    #[error("It is no qcow2 file")]
    Magic,
    /// Before or after ours.
    #[error("It has version {0} of qcow2, and not 3")]
    Version(u32),
    /// It asks for more than we do.
    #[error("It has {0}")]
    Feature(&'static str),
    /// It is no overlay.
    #[error("It has no backing file")]
    NoBase,
    /// It is the overlay of another base.
    #[error("Its backing file is {named:?}, and the drive's is {base:?}")]
    Base {
        /// What the header says.
        named: String,
        /// What the configuration says.
        base: PathBuf,
    },
    /// Its backing file is not taken as bytes.
    #[error("The format of its backing file is {0:?}, and not raw")]
    Format(String),
    /// It has to be named.
    #[error("It does not name the format of its backing file, which is raw")]
    NoFormat,
    /// It ends before its base, or in the middle of a sector.
    #[error("Its disk has {size} bytes, and its backing file {base}")]
    Size {
        /// The disk's size.
        size: u64,
        /// The base's.
        base: u64,
    },
    /// A number in the header leads out of the file, or beyond every need.
    #[error("Its {0} is not one of an overlay")]
    Layout(&'static str),
}
