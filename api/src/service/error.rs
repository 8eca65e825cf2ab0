//! What the service raises. Three faults stay apart: the caller's, the host's, the guest's.

pub use bulkhead_image::sentence as chain;
use thiserror::Error;

use crate::host::HostError;
use crate::store::StoreError;

/// What the service raises.
#[derive(Debug, Error)]
pub enum ServiceError {
    /// There is no such resource.
    #[error("There is no {kind} {name}")]
    NotFound {
        /// The kind of resource.
        kind: &'static str,
        /// As it was asked for.
        name: String,
    },
    /// A short id fits several resources.
    #[error("{name} is the start of more than one {kind}'s id")]
    Ambiguous {
        /// The kind of resource.
        kind: &'static str,
        /// As it was asked for.
        name: String,
    },
    /// The name is taken.
    #[error("There is a {kind} {name} already")]
    Exists {
        /// The kind of resource.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// The request cannot be obeyed whatever the state is.
    #[error("{field}: {message}")]
    Invalid {
        /// The field of the body.
        field: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// The request does not fit the resource's state.
    #[error("{message}")]
    Conflict {
        /// Why.
        message: String,
    },
    /// A source of an image cannot be found.
    #[error("There is no source {source_name}")]
    NoSource {
        /// As it was given.
        source_name: String,
    },
    /// A source of an image cannot be made into one.
    #[error("Cannot import {source_name}")]
    Import {
        /// As it was given.
        source_name: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A program that does not begin.
    #[error("{message}")]
    Program {
        /// Why.
        message: String,
        /// The status that a shell gives for it: 126, or 127 where it is not there.
        code: u8,
    },
    /// The guest's agent refused or did not answer.
    #[error("The guest of machine {name} did not {operation}")]
    Guest {
        /// The machine.
        name: String,
        /// What was asked of it.
        operation: &'static str,
        /// Why.
        #[source]
        source: HostError,
    },
    /// The machine ended on its way up.
    #[error("Machine {name} ended before its container ran: {message}")]
    EndedEarly {
        /// The machine.
        name: String,
        /// How.
        message: String,
    },
    /// Somebody ended the machine on its way up.
    #[error("Machine {name} was ended before its container ran")]
    Cancelled {
        /// The machine.
        name: String,
    },
    /// The guest did not come up in time.
    #[error("Machine {name} was ended: its guest did not {stage} within {seconds} s")]
    Silent {
        /// The machine.
        name: String,
        /// What it has not come to.
        stage: &'static str,
        /// The time it had.
        seconds: u64,
    },
    /// The host failed.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record cannot be read.
    #[error("The record {key} cannot be read")]
    Record {
        /// The store's key.
        key: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl ServiceError {
    /// The sentence and all its causes.
    pub fn chain(&self) -> String {
        chain(self)
    }
}
