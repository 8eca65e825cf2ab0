//! A bundle (`bundle.md`): a folder with `config.json` and a root.

use std::path::{Path, PathBuf};

use bulkhead_protocol::oci::Spec;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::OciError;
use super::position;
use crate::bounded;

/// The version of the specification that is followed.
pub const OCI_VERSION: &str = "1.2.0";

/// The largest `config.json`, in bytes.
const MAX_CONFIG: usize = 8 << 20;

/// A bundle, read. The process's working folder is the bundle from then on.
#[derive(Debug)]
pub struct Bundle {
    /// The absolute path of the folder.
    pub path: PathBuf,
    /// `config.json` as it stands there.
    pub text: Vec<u8>,
    /// What it says.
    pub spec: Spec,
}

impl Bundle {
    /// Enters the bundle, where relative paths of its specification begin, and reads it.
    pub fn enter(path: &str) -> Result<Self, OciError> {
        if path != "." {
            std::env::set_current_dir(path).map_err(OciError::file("enter the bundle", path))?;
        }
        let path = std::env::current_dir().map_err(OciError::file("find the bundle", path))?;
        let text = read(Path::new("config.json"), MAX_CONFIG)?;
        let spec = parse("config.json", &text)?;
        Ok(Self { path, text, spec })
    }

    /// The absolute path of the root.
    pub fn rootfs(&self) -> PathBuf {
        self.path.join(self.spec.root.as_ref().map_or("rootfs", |root| root.path.as_str()))
    }
}

/// A whole file within a limit.
pub fn read(path: &Path, limit: usize) -> Result<Vec<u8>, OciError> {
    bounded::read_path(path, limit).map_err(OciError::file("read", path))
}

/// Reads a document of the specification. A property that is `null` is one that is not there, as Go writes it.
pub fn parse<T: DeserializeOwned>(path: &str, text: &[u8]) -> Result<T, OciError> {
    if let Ok(spec) = serde_json::from_slice(text) {
        return Ok(spec);
    }
    let wrong = |source| OciError::Json { path: path.to_owned(), source };
    let mut value: Value = serde_json::from_slice(text).map_err(wrong)?;
    without_nulls(&mut value);
    let text = serde_json::to_vec(&value).map_err(wrong)?;
    serde_json::from_slice(&text).map_err(|source| OciError::Property {
        path: path.to_owned(),
        property: position::property(&text, source.line(), source.column()),
        source,
    })
}

fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|_, value| !value.is_null());
            object.values_mut().for_each(without_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_null_is_not_there() {
        let spec: Spec = parse("x", br#"{"mounts":null,"process":{"args":["a"],"env":null}}"#).unwrap();
        assert_eq!(spec.process.args, ["a"]);
        assert!(spec.mounts.is_empty());
    }

    #[test]
    fn a_wrong_value_is_named() {
        let text = br#"{"process":{"args":["a"],"user":{"uid":"root"}}}"#;
        let error = crate::console::chain(&parse::<Spec>("config.json", text).unwrap_err());
        assert!(error.contains("process.user.uid"), "{error}");
        let error = crate::console::chain(&parse::<Spec>("config.json", b"{").unwrap_err());
        assert!(error.contains("config.json"), "{error}");
    }
}
