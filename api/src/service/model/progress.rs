//! How far an import is.

use bulkhead_image::progress::Outcome;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How far a part of an import is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProgressItem {
    /// The digits of a blob's SHA-256; `layers` where a root's are read, and `root` where that is written.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// How many bytes of it are done.
    pub current: u64,
    /// How it ended, where it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub outcome: Option<ProgressOutcome>,
}

/// How a part of an import ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProgressOutcome {
    /// It was there.
    Present,
    /// Somebody else brought it at the same time.
    Shared,
    /// It was brought, or made.
    Transferred,
}

impl From<Outcome> for ProgressOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Present => Self::Present,
            Outcome::Shared => Self::Shared,
            Outcome::Transferred => Self::Transferred,
        }
    }
}

impl From<ProgressOutcome> for Outcome {
    fn from(outcome: ProgressOutcome) -> Self {
        match outcome {
            ProgressOutcome::Present => Self::Present,
            ProgressOutcome::Shared => Self::Shared,
            ProgressOutcome::Transferred => Self::Transferred,
        }
    }
}
