//! A container's file system: its root, what is mounted in it, its devices, and the way into it.

pub mod beneath;
mod copy_up;
pub mod device;
pub mod disk;
pub mod entrance;
pub mod file_system;
pub mod files;
pub mod identity;
pub mod masks;
pub mod mounts;
pub mod nodes;
pub mod options;
pub mod overlay;
pub mod setattr;
pub mod volume;

use std::io;

/// What goes wrong while a container's file system is put together.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    /// A path of the container is unusable.
    #[error("Cannot {operation} {path} in the container")]
    Path {
        /// What was tried.
        operation: &'static str,
        /// The path as the container sees it.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file system could not be mounted.
    #[error("Cannot mount {kind} on {target} in the container")]
    Mount {
        /// The file system's type.
        kind: String,
        /// Where.
        target: String,
        /// Why.
        source: io::Error,
    },
    /// A step on the way to the container's root failed.
    #[error("Cannot {step}")]
    Step {
        /// The step.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A mount that is not offered.
    #[error("The mount on {target} is not possible: {reason}")]
    Refused {
        /// Where.
        target: String,
        /// Why not.
        reason: String,
    },
    /// A disk could not be mounted.
    #[error("Cannot mount the {kind} file system of {device}")]
    Disk {
        /// The file system's type.
        kind: &'static str,
        /// The device, as it was named.
        device: String,
        /// Why.
        source: io::Error,
    },
    /// A root is of another kind, or not a file system at all.
    #[error("The root {0} is neither an EROFS nor a squashfs file system")]
    NoRoot(String),
    /// The kernel lacks a file system.
    #[error("This kernel has no {kind}, which {device} needs")]
    NoFileSystem {
        /// The file system's type.
        kind: &'static str,
        /// The device, as it was named.
        device: String,
    },
    /// A disk is not there.
    #[error("No block device is {0}")]
    NoDevice(String),
    /// A device's name is none.
    #[error("The device name {0} is neither serial:NAME, partlabel:NAME nor a path below /dev")]
    DeviceName(String),
}

impl RootfsError {
    /// Whether another request would have helped: what it names is not there or not possible.
    pub fn by_caller(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::NoDevice(_) | Self::DeviceName(_))
    }

    /// For `map_err`: a step that failed.
    pub fn step<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Step { step, source: error.into() }
    }

    /// For `map_err`: an operation on a path of the container that failed.
    pub fn path<E: Into<io::Error>>(operation: &'static str, path: &str) -> impl FnOnce(E) -> Self {
        move |error| Self::Path { operation, path: path.to_owned(), source: error.into() }
    }

    /// For `map_err`: a mount that failed.
    pub fn mount<E: Into<io::Error>>(kind: &str, target: &str) -> impl FnOnce(E) -> Self {
        move |error| Self::Mount { kind: kind.to_owned(), target: target.to_owned(), source: error.into() }
    }
}
