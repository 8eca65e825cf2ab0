//! Another process in a machine's container.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::machine::{variables, words};

/// What a process is, as far as it differs from the container's own: the rest is as `run` has it, also its
/// privileges.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecSpec {
    /// The program and its arguments.
    #[schema(schema_with = words)]
    pub command: Vec<String>,
    /// Variables added to the container's, or replacing them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(schema_with = variables)]
    pub env: BTreeMap<String, String>,
    /// Where it starts: an absolute path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4095, pattern = "^/[^\\x00]*$", nullable = false)]
    pub workdir: Option<String>,
    /// `USER` or `USER:GROUP`, by name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 512, pattern = "^[^\\x00]+$", nullable = false)]
    pub user: Option<String>,
    /// The client sends its input, which is empty otherwise.
    #[serde(default)]
    pub stdin: bool,
    /// It gets a terminal of this size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub tty: Option<TtySize>,
    /// Nobody waits for it.
    #[serde(default)]
    pub detach: bool,
}

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TtySize {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}
