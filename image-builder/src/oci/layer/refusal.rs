//! Why an entry of an archive is not taken. Each is the end of a sentence that names layer and entry.

use std::io;

use thiserror::Error;

use crate::tree::{PathError, StoreError};

/// Why an entry is not taken.
#[derive(Debug, Error)]
pub enum Refusal {
    /// `..` in a name.
    #[error("its {0} leads through '..'")]
    ParentReference(&'static str),
    /// A NUL in a name.
    #[error("its {0} contains a NUL character")]
    Nul(&'static str),
    /// A name of no characters.
    #[error("its {0} is empty")]
    Empty(&'static str),
    /// A name over the limit.
    #[error("its {0} is longer than {1} bytes")]
    Long(&'static str, usize),
    /// A path with too many components.
    #[error("it lies more than {0} directories deep")]
    Deep(usize),
    /// Its parent cannot be reached.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Anything but a directory with the root's name.
    #[error("only a directory can be the root")]
    Root,
    /// A whiteout without a proper name.
    #[error("it is a whiteout of no name")]
    Whiteout,
    /// A directory with a whiteout's name.
    #[error("a component of its path has the name of a whiteout")]
    InWhiteout,
    /// A hard link to nothing.
    #[error("it is a hard link to {0:?}, which does not exist")]
    LinkToNothing(String),
    /// A hard link to a directory.
    #[error("it is a hard link to {0:?}, which is a directory")]
    LinkToDirectory(String),
    /// A number that cannot be read or is out of range.
    #[error("its {0} is not a number in range")]
    Number(&'static str),
    /// A header whose checksum is wrong.
    #[error("its header has a wrong checksum")]
    Checksum,
    /// An extended header that cannot be read.
    #[error("its extended header is malformed")]
    Pax,
    /// An extended header over the limit.
    #[error("its extended header is larger than {0} bytes")]
    LongHeader(u64),
    /// An entry of an unknown type.
    #[error("it has the unknown type {0:?}")]
    Type(char),
    /// A map of holes that cannot be.
    #[error("its map of holes is malformed")]
    Sparse,
    /// An extended attribute over the limits of the file system.
    #[error("its extended attribute {0:?} is larger than the file system can hold")]
    Xattr(String),
    /// A limit on everything together.
    #[error("the image has more than {limit} {what}")]
    TooMuch {
        /// What is counted.
        what: &'static str,
        /// How many are taken.
        limit: u64,
    },
    /// Its body cannot be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The archive ends or cannot be read.
    #[error("its content cannot be read")]
    Content(#[source] io::Error),
}
