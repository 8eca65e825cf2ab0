//! What is on a disk: file systems, partition tables, and the sink that they are written to.

pub mod erofs;
pub mod gpt;
mod sink;
pub mod squashfs;

pub use sink::Sink;

/// The file system of a root.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RootFormat {
    /// Uncompressed, by our own writer.
    #[default]
    Erofs,
    /// Compressed, by tar2sqfs, where size counts.
    Squashfs,
}
