//! Records with versions: the one place where the daemon remembers.
//!
//! A record is a key, a value and the revision that wrote it. Revisions count up over the whole store, so
//! one number orders everything. The trait is what a fleet's etcd can serve too: conditional writes of
//! several keys at once, and a watch that starts at a revision.

mod local;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::broadcast;

pub use local::LocalStore;

/// What the store raises.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The data base cannot be opened.
    #[error("Cannot open the store {path}")]
    Open {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A condition of a write did not hold; nothing was written.
    #[error("The record {key} was changed by somebody else")]
    Conflict {
        /// The key whose condition failed.
        key: String,
    },
    /// The changes after that revision are no longer kept.
    #[error("Changes after revision {since} are no longer kept; list again and watch from there")]
    Compacted {
        /// The revision that was asked for.
        since: u64,
    },
    /// The data base failed.
    #[error("Cannot {operation} the store")]
    Backend {
        /// A verb: read, write.
        operation: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// `collection/id`.
    pub key: String,
    /// The revision that wrote it.
    pub version: u64,
    /// JSON.
    pub value: Vec<u8>,
}

/// What must hold for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Anything,
    /// There is no such record.
    Absent,
    /// The record has this version.
    Version(u64),
}

/// One write of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Put the record, if the expectation holds.
    Put {
        /// The key.
        key: String,
        /// The condition.
        expect: Expect,
        /// The new value.
        value: Vec<u8>,
    },
    /// Delete the record, if the expectation holds. Deleting what is not there is no error.
    Delete {
        /// The key.
        key: String,
        /// The condition.
        expect: Expect,
    },
}

/// What happened to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It has a new value.
    Modified,
    /// It is gone; the value is its last one.
    Deleted,
}

/// One change, in the order of revisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The record after the change; its version is the change's revision.
    pub record: Record,
}

/// A list and the revision at which it was true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// In the order of keys.
    pub records: Vec<Record>,
    /// Watch from here to see every later change.
    pub revision: u64,
}

/// Changes since a revision: those kept, then the live ones.
#[derive(Debug)]
pub struct Watch {
    /// What happened between the revision and now.
    pub past: Vec<Change>,
    /// What happens from now on. A receiver that lags must list again.
    pub live: broadcast::Receiver<Change>,
}

/// Where records are kept.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// One record.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Record>, StoreError>>;

    /// All records whose key starts with `prefix`.
    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Listing, StoreError>>;

    /// All writes, or none. Answers the revision that they made.
    fn apply(&self, writes: Vec<Write>) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Changes of records whose key starts with `prefix`, after revision `since` (none: from now on).
    fn watch<'a>(&'a self, prefix: &'a str, since: Option<u64>) -> BoxFuture<'a, Result<Watch, StoreError>>;
}
