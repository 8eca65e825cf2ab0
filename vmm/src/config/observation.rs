//! `logger` and `metrics`: where messages and figures go.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use log::LevelFilter;
use serde::{Deserialize, Serialize};

/// Firecracker's logger. What is not named stays as it is, but for the level.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Logger {
    /// A file or a named pipe; standard output when there has never been one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub log_path: Option<PathBuf>,
    /// Which messages are written; `Info` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// Write each message's level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub show_level: Option<bool>,
    /// Write from which line of the source a message comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub show_log_origin: Option<bool>,
    /// Write only messages of modules whose name begins so: `bulkhead_vmm::http`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
}

/// The least important messages that are written. Read in any case, and `Warn` like `Warning`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Level {
    /// What failed.
    Error,
    /// And what is odd.
    Warning,
    /// And what happens.
    #[default]
    Info,
    /// And how.
    Debug,
    /// Everything.
    Trace,
    /// Nothing.
    Off,
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "error" => Self::Error,
            "warn" | "warning" => Self::Warning,
            "info" => Self::Info,
            "debug" => Self::Debug,
            "trace" => Self::Trace,
            "off" => Self::Off,
            _ => {
                return Err(format!("level {text:?} is none of Error, Warning, Info, Debug, Trace and Off"));
            }
        })
    }
}

impl TryFrom<String> for Level {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::Error,
            Level::Warning => Self::Warn,
            Level::Info => Self::Info,
            Level::Debug => Self::Debug,
            Level::Trace => Self::Trace,
            Level::Off => Self::Off,
        }
    }
}

/// Firecracker's metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Metrics {
    /// A file or a named pipe that gets a line of JSON when the machine starts, each minute, when asked to
    /// flush and when the machine ends.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub metrics_path: PathBuf,
    /// Begin each line with the machine's id.
    #[serde(default)]
    pub emit_id: bool,
    /// Words to repeat in each line.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
}
