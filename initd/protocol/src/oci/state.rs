//! The state of a container (`runtime.md`, "State").

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a hook reads, and what `state` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The specification's version.
    pub oci_version: String,
    /// The container's name on this host.
    pub id: String,
    /// Where in its life it is.
    pub status: Status,
    /// Its first process, as the host numbers it; 0 where there is none.
    pub pid: i32,
    /// The absolute path of the bundle.
    pub bundle: String,
    /// The specification's annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub annotations: BTreeMap<String, String>,
}

/// Where in its life a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is being made.
    Creating,
    /// It waits for its start.
    Created,
    /// Its program runs.
    Running,
    /// Its program runs and is held by the freezer.
    Paused,
    /// Its program has ended.
    Stopped,
}

impl Status {
    /// The specification's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}
