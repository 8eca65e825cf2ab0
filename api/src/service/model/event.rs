//! An event: something that happened to another resource.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::metadata::{Metadata, resource};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Who it is; its name is its id.
    pub metadata: Metadata,
    /// What happened to what.
    pub spec: EventSpec,
    /// Nothing: an event does not change.
    pub status: EventStatus,
}

resource!(Event, "events", "event");

/// What happened to what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EventSpec {
    /// The kind of the subject: machine, image or volume.
    pub kind: String,
    /// The subject's id.
    pub id: String,
    /// The subject's name at that time.
    pub name: String,
    /// What happened, one word: created, started, ended, failed, imported, deleted, …
    pub action: String,
    /// More about it, in a sentence.
    pub message: Option<String>,
}

/// Nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EventStatus {}
