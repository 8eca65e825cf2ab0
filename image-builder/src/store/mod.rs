//! Images by their content: blobs under their digests, and which reference means which image.
//!
//! ```text
//! STORE/                 0700, its owner's alone
//!   lock                 shared by who adds or reads, exclusive for who removes
//!   blobs/sha256/DIGITS  whole and held against their digests: manifests, configurations, layers
//!   partial/DIGITS       what has been fetched of a blob, locked while somebody fetches it
//!   references/DIGITS    a document each; the digits are the SHA-256 of the reference
//! ```
//!
//! Every step is a rename of something whole, so that a kill at any moment leaves a store that can be used; what
//! was half fetched is taken up where it ended. All names are looked up beneath folders that are held open, and
//! none of them through a symbolic link (RUSTSEC-2023-0018).

mod blobs;
mod collect;
mod folder;
mod lock;
mod partial;
mod pull;
mod references;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::{env, io};

use thiserror::Error;

use crate::cancellation::{Cancellation, Cancelled};
use crate::limits::Limits;
use crate::oci::OciError;
pub use crate::progress::{Outcome, Progress, Quiet};
use crate::registry::RegistryError;
pub use collect::Collected;
use folder::Folder;
pub use lock::Lease;
pub(crate) use pull::AT_ONCE;
pub use references::StoredImage;

/// Why the store cannot do something.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The folder.
    #[error("Cannot open the store {0}")]
    Open(PathBuf, #[source] io::Error),
    /// A folder that others may write to.
    #[error("The folder {0} cannot be a store: it belongs to another user, or others may write to it")]
    Foreign(PathBuf),
    /// There is no place for one.
    #[error("Name a store: neither $XDG_DATA_HOME nor $HOME is set")]
    NoPlace,
    /// A file of the store.
    #[error("Cannot {0} {1} in the store {2}")]
    File(&'static str, String, PathBuf, #[source] io::Error),
    /// A record that is not understood.
    #[error("The record of a reference in the store {0} is damaged")]
    Record(PathBuf, #[source] serde_json::Error),
    /// It is not there.
    #[error("The store {0} has no image {1}")]
    NoImage(PathBuf, String),
    /// Somebody else holds it.
    #[error("The store {0} is in use; try again when pulls and builds have ended")]
    InUse(PathBuf),
    /// Nobody waits for it.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// Somebody else fetches a blob and gets nowhere.
    #[error("Another process fetches {0} and has brought nothing for {1} s")]
    Stuck(String, u64),
    /// The exchange with a registry.
    #[error("Cannot pull {0}")]
    Pull(String, #[source] Box<RegistryError>),
    /// What was pulled.
    #[error("Cannot use {0}")]
    Unusable(String, #[source] Box<OciError>),
}

/// A store. It may be used by several threads and processes at once.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    root: Folder,
    blobs: Folder,
    partial: Folder,
    references: Folder,
    limits: Limits,
}

impl Store {
    /// Opens a store, and makes it where there is none.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |error| StoreError::Open(path.to_owned(), error);
        let root = Folder::create(path).map_err(failed)?;
        if !root.is_own().map_err(failed)? {
            return Err(StoreError::Foreign(path.to_owned()));
        }
        let blobs = root.subfolder("blobs").and_then(|blobs| blobs.subfolder("sha256")).map_err(failed)?;
        let partial = root.subfolder("partial").map_err(failed)?;
        let references = root.subfolder("references").map_err(failed)?;
        Ok(Self { path: path.to_owned(), root, blobs, partial, references, limits: Limits::default() })
    }

    /// The same, ending its work once that shall end.
    pub fn until(mut self, cancellation: &Cancellation) -> Self {
        self.limits.cancellation = cancellation.clone();
        self
    }

    /// Where a store is when nobody says: `$BULKHEAD_STORE`; else `/var/lib/bulkhead/store` for root and
    /// `$XDG_DATA_HOME/bulkhead/store` (`~/.local/share`) for others.
    pub fn default_path() -> Result<PathBuf, StoreError> {
        let named = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(path) = named("BULKHEAD_STORE") {
            return Ok(path);
        }
        if rustix::process::geteuid().is_root() {
            return Ok(PathBuf::from("/var/lib/bulkhead/store"));
        }
        let data = named("XDG_DATA_HOME").or_else(|| named("HOME").map(|home| home.join(".local/share")));
        data.map(|data| data.join("bulkhead/store")).ok_or(StoreError::NoPlace)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open folder, whose `blobs/sha256` is that of an OCI layout.
    pub(crate) fn handle(&self) -> Result<File, StoreError> {
        self.root.handle().map_err(|error| StoreError::Open(self.path.clone(), error))
    }

    fn failed(&self, verb: &'static str, name: &str) -> impl FnOnce(io::Error) -> StoreError {
        let (name, path) = (name.to_owned(), self.path.clone());
        move |error| StoreError::File(verb, name, path, error)
    }
}
