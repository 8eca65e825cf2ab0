//! Why a copy ends.

use std::io;

use thiserror::Error;

/// The most of a name that is shown, in characters.
const SHOWN: usize = 200;

/// Why a copy ends.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// The stream cannot be read.
    #[error("Cannot read the archive")]
    Read(#[source] io::Error),
    /// The stream cannot be written.
    #[error("Cannot write the archive")]
    Write(#[source] io::Error),
    /// The stream is not whole.
    #[error("The archive ends early")]
    Short,
    /// A header is none.
    #[error("The archive has a header that is none: {0}")]
    Header(&'static str),
    /// An entry is not taken.
    #[error("Cannot take {name:?}: {reason}")]
    Refused {
        /// The entry.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// A file operation failed.
    #[error("Cannot {operation} {name:?}")]
    File {
        /// A verb.
        operation: &'static str,
        /// The file.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no end of it.
    #[error("The copy has more than {limit} {what}")]
    TooMuch {
        /// What is counted.
        what: &'static str,
        /// How many are taken.
        limit: u64,
    },
}

impl ArchiveError {
    /// An entry that is not taken.
    pub fn refused(name: &[u8], reason: &'static str) -> Self {
        Self::Refused { name: shown(name), reason }
    }

    /// A file operation that failed, for `map_err`.
    pub fn file<E: Into<io::Error>>(operation: &'static str, name: &[u8]) -> impl FnOnce(E) -> Self {
        move |error| Self::File { operation, name: shown(name), source: error.into() }
    }
}

/// A name for people: cut, and without what could trick a terminal.
pub fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().filter(|letter| !letter.is_control()).take(SHOWN).collect()
}
