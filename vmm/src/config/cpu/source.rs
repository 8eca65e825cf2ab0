//! A template in a configuration file: written there, or the path of a file with it, as Firecracker takes both.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::CpuConfig;
use crate::config::MAX_FILE;

/// Reads a field that may be absent, `null`, a template or a path.
pub fn template_or_path<'de, D: Deserializer<'de>>(from: D) -> Result<Option<CpuConfig>, D::Error> {
    from.deserialize_any(Source)
}

struct Source;

impl<'de> Visitor<'de> for Source {
    type Value = Option<CpuConfig>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a CPU template or the path of one")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        CpuConfig::deserialize(MapAccessDeserializer::new(map)).map(Some)
    }

    fn visit_str<E: Error>(self, path: &str) -> Result<Self::Value, E> {
        let failed = |error: &dyn fmt::Display| E::custom(format!("cpu-config {path}: {error}"));
        let mut text = Vec::new();
        // A named pipe without a writer, or a terminal, is not waited for.
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
        file.and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut text))
            .map_err(|error| failed(&error))?;
        if text.len() as u64 > MAX_FILE {
            return Err(failed(&format!("it has more than {MAX_FILE} bytes")));
        }
        serde_json::from_slice(&text).map(Some).map_err(|error| failed(&error))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(value: Value) -> Result<Option<CpuConfig>, String> {
        template_or_path(value).map_err(|error: serde_json::Error| error.to_string())
    }

    #[test]
    fn a_template_is_taken_as_it_is_or_from_its_file() {
        let template = json!({"msr_modifiers": [{"addr": "0x10", "bitmap": "0b1"}]});
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("template.json");
        std::fs::write(&path, template.to_string()).unwrap();
        let (written, named) = (read(template).unwrap(), read(json!(path)).unwrap());
        assert!(written.is_some() && written == named);
        assert_eq!(read(Value::Null), Ok(None));
        std::fs::write(&path, r#"{"colour": 1}"#).unwrap();
        for (value, expected) in [
            (json!(path), "unknown field `colour`"),
            (json!("/nonexistent"), "cpu-config /nonexistent: "),
            (json!("/dev/zero"), "more than"),
            (json!(1), "a CPU template or the path of one"),
            (json!({"colour": 1}), "unknown field `colour`"),
        ] {
            let message = read(value).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }
}
