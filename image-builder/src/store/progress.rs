//! How far a pull or a push is.

/// How a blob came to be where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was there.
    Present,
    /// Somebody else brought it at the same time.
    Shared,
    /// It was transferred.
    Transferred,
}

/// Is told how far things are, by several threads at once. Digests are the digits alone.
pub trait Progress: Sync {
    /// A blob of `size` bytes, of which `there` need no transfer.
    fn begin(&self, digest: &str, size: u64, there: u64);
    /// So many bytes more of it.
    fn advance(&self, digest: &str, bytes: u64);
    /// Its transfer starts anew.
    fn restart(&self, digest: &str);
    /// It is complete.
    fn end(&self, digest: &str, outcome: Outcome);
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
