//! The document: written whole or by merge patches, read by paths.

use serde_json::{Map, Value};

use super::MmdsError;

/// How guests get a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As JSON.
    Json,
    /// As EC2's service tells it: names in lines, texts as they are.
    Imds,
}

/// Why a guest gets nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Nothing is there.
    Path,
    /// Something is there that the format has no form for.
    Form,
}

/// The document.
#[derive(Debug)]
pub struct DataStore {
    value: Option<Value>,
    limit: usize,
}

impl DataStore {
    /// Empty, and never more than `limit` bytes of JSON.
    pub fn new(limit: usize) -> DataStore {
        DataStore { value: None, limit }
    }

    /// The document; null when there is none.
    pub fn value(&self) -> &Value {
        self.value.as_ref().unwrap_or(&Value::Null)
    }

    /// Replaces it.
    pub fn put(&mut self, value: Value) -> Result<(), MmdsError> {
        let (size, limit) = (value.to_string().len(), self.limit);
        if size > limit {
            return Err(MmdsError::TooLarge { size, limit });
        }
        self.value = Some(value);
        Ok(())
    }

    /// Changes it, wholly or not at all.
    pub fn patch(&mut self, patch: &Value) -> Result<(), MmdsError> {
        let mut value = self.value.clone().ok_or(MmdsError::Uninitialized)?;
        merge(&mut value, patch);
        self.put(value)
    }

    /// What is at `path`, a JSON pointer (RFC 6901) that may have slashes too many.
    pub fn find(&self, path: &str, format: Format) -> Result<String, Missing> {
        let names = path.split('/').filter(|name| !name.is_empty());
        let pointer: String = names.flat_map(|name| ["/", name]).collect();
        let value = self.value.as_ref().and_then(|value| value.pointer(&pointer)).ok_or(Missing::Path)?;
        match (format, value) {
            (Format::Json, value) => Ok(value.to_string()),
            (Format::Imds, Value::String(text)) => Ok(text.clone()),
            (Format::Imds, Value::Object(fields)) => Ok(names_of(fields)),
            (Format::Imds, _) => Err(Missing::Form),
        }
    }
}

/// One name a line, with a slash behind those that have more below them.
fn names_of(fields: &Map<String, Value>) -> String {
    let line = |(name, value): (&String, &Value)| match value {
        Value::Object(_) => format!("{name}/"),
        _ => name.clone(),
    };
    fields.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// RFC 7396 section 2. As deep as the documents, whose depth the parser limits.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else { return };
    for (name, change) in changes {
        if change.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name).or_insert(Value::Null), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn merge_patches_do_what_the_standard_s_appendix_says() {
        let cases = [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a": "b"}), json!(["c"]), json!(["c"])),
            (json!({"a": "foo"}), json!(null), json!(null)),
            (json!({"a": "foo"}), json!("bar"), json!("bar")),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ];
        for (target, patch, expected) in cases {
            let mut store = DataStore::new(1000);
            store.put(target.clone()).unwrap();
            store.patch(&patch).unwrap();
            assert_eq!(store.value(), &expected, "{target} and {patch}");
        }
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let mut store = DataStore::new(20);
        assert!(matches!(store.patch(&json!({})), Err(MmdsError::Uninitialized)));
        assert!(matches!(store.put(json!("a".repeat(19))), Err(MmdsError::TooLarge { size: 21, limit: 20 })));
        store.put(json!({"a": "b"})).unwrap();
        assert!(matches!(store.patch(&json!({"c": "d".repeat(20)})), Err(MmdsError::TooLarge { .. })));
        assert_eq!(store.value(), &json!({"a": "b"}));
    }

    #[test]
    fn parts_are_found_and_told_in_both_formats() {
        let mut store = DataStore::new(1000);
        assert_eq!(store.find("/", Format::Json), Err(Missing::Path));
        let data = json!({"latest": {"meta-data": {"id": "i-1", "list": ["x", 2], "o": {"k": "v"}}, "n": 5}});
        store.put(data.clone()).unwrap();
        let imds = |path: &str| store.find(path, Format::Imds);
        assert_eq!(imds("/").as_deref(), Ok("latest/"));
        assert_eq!(imds("/latest//meta-data/").as_deref(), Ok("id\nlist\no/"));
        assert_eq!(imds("/latest/meta-data/id/").as_deref(), Ok("i-1"));
        assert_eq!(imds("/latest/meta-data/list/0").as_deref(), Ok("x"));
        assert_eq!(imds("/latest/meta-data/list"), Err(Missing::Form));
        assert_eq!(imds("/latest/n"), Err(Missing::Form));
        assert_eq!(imds("/latest/nothing"), Err(Missing::Path));
        assert_eq!(store.find("/latest/n", Format::Json).as_deref(), Ok("5"));
        assert_eq!(store.find("/latest/meta-data/id", Format::Json).as_deref(), Ok("\"i-1\""));
        assert_eq!(store.find("", Format::Json).unwrap(), data.to_string());
    }
}
