//! Where errors are told: standard error, and the file of `--log`.

use std::fs::{File, OpenOptions};
use std::io::Write as _;

use serde::Serialize;

use super::error::OciError;
use super::{NAME, time};

/// The file of `--log` and the way it is written.
#[derive(Debug, Default)]
pub struct Log {
    file: Option<File>,
    json: bool,
}

/// A line of a log in JSON, as runc writes it and engines read it.
#[derive(Debug, Serialize)]
struct Line<'a> {
    msg: &'a str,
    level: &'static str,
    time: &'a str,
}

impl Log {
    /// Opens the log.
    pub fn open(path: Option<&str>, format: Option<&str>) -> Result<Self, OciError> {
        let json = match format {
            None | Some("text" | "") => false,
            Some("json") => true,
            Some(value) => {
                let (flag, reason) = ("log-format", "it is text or json");
                return Err(OciError::Flag { flag, value: value.to_owned(), reason });
            }
        };
        let open = |path: &str| {
            let opened = OpenOptions::new().append(true).create(true).open(path);
            opened.map_err(OciError::file("open the log", path))
        };
        let file = path.filter(|path| !path.is_empty()).map(open).transpose()?;
        Ok(Self { file, json })
    }

    /// Tells an error.
    pub fn tell(&self, message: &str) {
        // Where nobody reads there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "{NAME}: {message}");
        self.write("error", message);
    }

    /// Tells what went wrong without ending the verb.
    pub fn warn(&self, message: &str) {
        let _ = writeln!(std::io::stderr(), "{NAME}: warning: {message}");
        self.write("warning", message);
    }

    fn write(&self, level: &'static str, message: &str) {
        let Some(mut file) = self.file.as_ref() else { return };
        let time = time::now();
        let line = if self.json {
            serde_json::to_string(&Line { msg: message, level, time: &time }).unwrap_or_default()
        } else {
            format!("time={time:?} level={level} msg={message:?}")
        };
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_can_read_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = Log::open(path.to_str(), Some("json")).unwrap();
        log.tell("it is \"so\"");
        let line: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!((line["msg"].as_str(), line["level"].as_str()), (Some("it is \"so\""), Some("error")));
        assert!(Log::open(None, Some("xml")).is_err());
    }
}
