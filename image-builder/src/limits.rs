//! How much of an image is taken. Everything that is read from one counts against a limit.

use crate::cancellation::Cancellation;

/// The limits. The defaults are far above any image that is meant well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Layers of one image.
    pub layers: usize,
    /// Entries in all layers together, and inodes of the root.
    pub entries: u64,
    /// Components of a path.
    pub depth: usize,
    /// Bytes of a whole path.
    pub path: usize,
    /// Bytes of memory that all entries take together, with their names, link targets and extended attributes. Beside
    /// them a build takes some 20 MiB.
    pub memory: u64,
    /// Bytes of one index, manifest or configuration.
    pub document: u64,
    /// Bytes of all uncompressed layers together, and of all files' data.
    pub data: u64,
    /// Bytes of one file with its holes, and of the built file system.
    pub size: u64,
    /// The end of all of it before its time.
    pub cancellation: Cancellation,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            layers: 500,
            entries: 1_000_000,
            depth: 1024,
            path: 4096,
            memory: 232 << 20,
            document: 4 << 20,
            data: 128 << 30,
            size: 8 << 40,
            cancellation: Cancellation::default(),
        }
    }
}
