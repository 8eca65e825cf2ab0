//! `logger` and `metrics`: where messages and figures go.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ConfigError;
use crate::metrics::Registry;

/// Firecracker's logger. Messages of this VMM are few; they go to `log_path`, or to standard error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logger {
    /// A file or a named pipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_path: Option<PathBuf>,
    /// Taken and of no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// Taken and of no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub show_level: Option<bool>,
    /// Taken and of no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub show_log_origin: Option<bool>,
    /// Taken and of no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
}

/// Firecracker's metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// A file or a named pipe that gets a line of JSON when the machine ends and when asked to flush.
    pub metrics_path: PathBuf,
    /// Begin each line with the machine's id.
    #[serde(default)]
    pub emit_id: bool,
    /// Words to repeat in each line.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
}

impl Logger {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        match &self.log_path {
            Some(path) => checked("logger", path),
            None => Ok(()),
        }
    }

    /// Writes a message. One that cannot be written is lost: the machine matters more.
    pub fn write(&self, id: &str, message: &str) {
        let Some(path) = &self.log_path else { return };
        let _ = open(path).and_then(|mut file| writeln!(file, "[{id}] {message}"));
    }
}

impl Metrics {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        checked("metrics", &self.metrics_path)
    }

    /// Writes a line of figures.
    pub fn flush(&self, id: &str, figures: &Registry) -> io::Result<()> {
        let mut line = figures.report();
        if self.emit_id {
            line.insert("id".into(), id.into());
        }
        if !self.properties.is_empty() {
            line.insert("properties".into(), serde_json::json!(self.properties));
        }
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        line.insert("utc_timestamp_ms".into(), serde_json::json!(now.as_millis() as u64));
        let mut text = serde_json::Value::from(line).to_string();
        text.push('\n');
        open(&self.metrics_path)?.write_all(text.as_bytes())
    }
}

fn checked(section: &str, path: &Path) -> Result<(), ConfigError> {
    open(path)
        .map(drop)
        .map_err(|error| ConfigError::invalid(section, format!("cannot open {}: {error}", path.display())))
}

/// Opens for appending; a named pipe too, without waiting for its reader.
fn open(path: &Path) -> io::Result<File> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    OpenOptions::new().append(true).read(true).create(true).mode(0o600).custom_flags(flags).open(path)
}
