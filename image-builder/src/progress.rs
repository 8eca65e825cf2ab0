//! How far a pull, a push or a build is.

use std::fmt;

/// What the layers of a build that are read are called among the digests.
pub const LAYERS: &str = "layers";

/// What the file system of a build that is written is called among the digests.
pub const ROOT: &str = "root";

/// How something came to be where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was there.
    Present,
    /// Somebody else brought it at the same time.
    Shared,
    /// It was transferred, or made.
    Transferred,
}

/// Is told how far things are, by several threads at once. Blobs are called by the digits of their digests; what else
/// there is, [`LAYERS`] and [`ROOT`].
pub trait Progress: fmt::Debug + Send + Sync {
    /// Something of `size` bytes, of which `there` need no work.
    fn begin(&self, name: &str, size: u64, there: u64);
    /// So many bytes more of it.
    fn advance(&self, name: &str, bytes: u64);
    /// It starts anew.
    fn restart(&self, name: &str);
    /// It is complete.
    fn end(&self, name: &str, outcome: Outcome);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy)]
pub struct Quiet;

impl Progress for Quiet {
    fn begin(&self, _: &str, _: u64, _: u64) {}
    fn advance(&self, _: &str, _: u64) {}
    fn restart(&self, _: &str) {}
    fn end(&self, _: &str, _: Outcome) {}
}
