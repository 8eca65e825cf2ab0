//! How much a copy may be.

use crate::ArchiveError;

/// The longest path, in bytes: Linux's `PATH_MAX` without its NUL.
pub const MAX_PATH: usize = 4095;
/// The longest component of a path, in bytes.
pub const MAX_NAME: usize = 255;
/// The most folders above an entry. A walk has each of them open.
pub const MAX_DEPTH: usize = 256;
/// The largest extended header, in bytes.
pub const MAX_EXTENSION: u64 = 64 << 10;
/// How many extended headers may precede one entry.
pub const MAX_EXTENSIONS: usize = 4;

/// How much a copy may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes in all files together.
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
}

/// What is left of the limits.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    bytes: u64,
    entries: u64,
}

impl Budget {
    /// All of it.
    pub fn new(limits: Limits) -> Self {
        Self { limits, bytes: limits.bytes, entries: limits.entries }
    }

    /// Takes an entry with that many bytes off.
    pub fn spend(&mut self, bytes: u64) -> Result<(), ArchiveError> {
        let too_much = |what, limit| ArchiveError::TooMuch { what, limit };
        let limits = self.limits;
        self.entries = self.entries.checked_sub(1).ok_or_else(|| too_much("entries", limits.entries))?;
        self.bytes = self.bytes.checked_sub(bytes).ok_or_else(|| too_much("bytes", limits.bytes))?;
        Ok(())
    }
}
