//! Answers on standard output.

use std::io::Write as _;
use std::path::Path;

use serde::Serialize;

use super::error::OciError;

/// Writes text.
pub fn print(text: &str) -> Result<(), OciError> {
    let mut output = std::io::stdout().lock();
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).map_err(OciError::Output)
}

/// Writes JSON for people.
pub fn print_json(value: &impl Serialize) -> Result<(), OciError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| OciError::Output(error.into()))?;
    print(&(text + "\n"))
}

/// Writes a process's number into a file, which is there whole or not at all.
pub fn pid_file(path: &Path, pid: i32) -> Result<(), OciError> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    let new = path.with_file_name(name);
    let written = std::fs::write(&new, pid.to_string()).and_then(|()| std::fs::rename(&new, path));
    written.map_err(OciError::file("write", path))
}
