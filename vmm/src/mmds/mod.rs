//! The metadata service (Firecracker's MMDS): a JSON document that the host writes over the API and guests
//! read over HTTP from a link-local address.
//!
//! `store` is the document, `token` the sessions, `answer` what a request gets; `request` reads requests,
//! `session` is one connection, `stack` is the service's end of a guest's wire: TCP and IP by `smoltcp`. A
//! network device hands it the frames that are for it and takes its frames; it knows no virtio and no tap.

mod answer;
mod request;
mod session;
mod stack;
mod store;
mod token;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

pub use self::stack::{MmdsStack, Wire};
use self::store::DataStore;
use self::token::Tokens;
use crate::metrics::MmdsMetrics;

/// The largest file of metadata that is read, in bytes; the document in it has a limit of its own.
const MAX_FILE: u64 = 16 << 20;

/// Why metadata is refused.
#[derive(Debug, thiserror::Error)]
pub enum MmdsError {
    /// It would be larger than allowed.
    #[error("The metadata would have {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// How many bytes it would have as JSON.
        size: usize,
        /// How many it may have.
        limit: usize,
    },
    /// Nothing is there to be changed.
    #[error("The MMDS data store is not initialized.")]
    Uninitialized,
    /// The file does not read.
    #[error("Cannot read metadata file {0}")]
    Read(PathBuf, #[source] io::Error),
    /// The file is not JSON.
    #[error("Cannot use metadata file {0}")]
    Parse(PathBuf, #[source] serde_json::Error),
}

/// The metadata of a machine, shared by the API and the machine's interfaces. Cheap to clone.
#[derive(Clone)]
pub struct Mmds {
    contents: Arc<Mutex<Contents>>,
    metrics: Arc<MmdsMetrics>,
}

struct Contents {
    store: DataStore,
    tokens: Tokens,
}

impl Mmds {
    /// No metadata yet, and never more than `limit` bytes of it.
    pub fn new(limit: usize, metrics: Arc<MmdsMetrics>) -> Mmds {
        let contents = Contents { store: DataStore::new(limit), tokens: Tokens::default() };
        Mmds { contents: Arc::new(Mutex::new(contents)), metrics }
    }

    /// Replaces the metadata.
    pub fn put(&self, value: Value) -> Result<(), MmdsError> {
        self.contents().store.put(value)
    }

    /// Changes the metadata by a merge patch (RFC 7396).
    pub fn patch(&self, patch: &Value) -> Result<(), MmdsError> {
        self.contents().store.patch(patch)
    }

    /// The metadata; null when there is none.
    pub fn value(&self) -> Value {
        self.contents().store.value().clone()
    }

    /// Takes the metadata from a file.
    pub fn load(&self, path: &Path) -> Result<(), MmdsError> {
        let unread = |error| MmdsError::Read(path.to_owned(), error);
        let mut text = Vec::new();
        File::open(path).map_err(unread)?.take(MAX_FILE).read_to_end(&mut text).map_err(unread)?;
        let value =
            serde_json::from_slice(&text).map_err(|error| MmdsError::Parse(path.to_owned(), error))?;
        self.put(value)
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
