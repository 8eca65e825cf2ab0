//! Files as a tar stream and back, beneath a folder's handle.
//!
//! * [`pack()`]: a file or a folder as a stream.
//! * [`unpack()`]: a stream as files.
//! * [`Reader`], [`Writer`]: the stream itself (POSIX.1-2017, `pax`, "ustar Interchange Format" and "pax Header").

mod error;
mod header;
mod limits;
mod pack;
pub mod pax;
mod reader;
mod unpack;
mod writer;

pub use error::ArchiveError;
pub use limits::{Budget, Limits};
pub use pack::{Top, pack};
pub use reader::Reader;
pub use unpack::{Rules, unpack};
pub use writer::Writer;

/// What stands in a stream before an entry's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path, as the stream has it.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permissions, and the three bits above them.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// When it was changed, in seconds since 1970.
    pub mtime: i64,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A file of that many bytes, which follow.
    File(u64),
    /// A folder.
    Folder,
    /// A symbolic link to there.
    Symlink(Vec<u8>),
    /// Another name of an entry that came before.
    HardLink(Vec<u8>),
    /// A device, a named pipe: what is not copied.
    Special(&'static str),
}
