//! Copies into a machine's container and out of it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is to be copied. Paths are the container's, and none leads out of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CopySpec {
    /// Where, from the container's root on.
    #[schema(min_length = 1, max_length = 4095, pattern = "^[^\\x00]+$")]
    pub path: String,
    /// What is to be done there.
    pub action: CopyAction,
    /// Reading: the name that the path has in the archive, one component; `.` for what is in a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 255, pattern = "^[^/\\x00]+$", nullable = false)]
    pub name: Option<String>,
    /// Telling and reading: where the path is a link, what it leads to is meant.
    #[serde(default)]
    pub follow: bool,
    /// Writing: files get the owners that the archive names, and not the container's root.
    #[serde(default)]
    pub owners: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CopyAction {
    /// Tell what is there.
    Stat,
    /// Send it.
    Read,
    /// Put an archive into it, a folder.
    Write,
}
