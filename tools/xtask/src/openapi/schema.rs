//! Schemas of both descriptions in one form, so that they can be compared.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What a value must be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Schema {
    /// `string`, `integer`, … Empty when anything goes.
    pub kind: String,
    /// The words that it can be, where they are given.
    pub words: BTreeSet<String>,
    /// An object's fields.
    pub fields: BTreeMap<String, Schema>,
    /// Those of them that must be there.
    pub required: BTreeSet<String>,
    /// What a list has.
    pub items: Option<Box<Schema>>,
    /// The least and the most of a number.
    pub range: (Option<f64>, Option<f64>),
}

impl Schema {
    /// The schema `value` in `document`, with references followed. An absent value counts as a missing one, so
    /// that `null` beside something else says nothing.
    pub fn read(value: &Value, document: &Value) -> Self {
        if let Some(reference) = value["$ref"].as_str() {
            let place = reference.trim_start_matches('#');
            return Self::read(document.pointer(place).unwrap_or(&Value::Null), document);
        }
        if let Some(choices) = value["oneOf"].as_array() {
            let real: Vec<&Value> = choices.iter().filter(|choice| choice["type"] != "null").collect();
            if let [only] = real.as_slice() {
                return Self::read(only, document);
            }
        }
        if let Some(parts) = value["allOf"].as_array() {
            return parts.iter().fold(Self::default(), |whole, part| whole.and(Self::read(part, document)));
        }
        let texts = |value: &Value| -> BTreeSet<String> {
            value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let kind = match &value["type"] {
            Value::String(kind) => kind.clone(),
            kinds => texts(kinds).into_iter().find(|kind| kind != "null").unwrap_or_default(),
        };
        let fields = value["properties"].as_object().into_iter().flatten();
        Self {
            kind,
            words: texts(&value["enum"]),
            fields: fields.map(|(name, field)| (name.clone(), Self::read(field, document))).collect(),
            required: texts(&value["required"]),
            items: value.get("items").map(|items| Box::new(Self::read(items, document))),
            range: (value["minimum"].as_f64(), value["maximum"].as_f64()),
        }
    }

    /// What is both.
    fn and(mut self, other: Self) -> Self {
        self.fields.extend(other.fields);
        self.required.extend(other.required);
        Self { kind: other.kind, ..self }
    }

    /// Says of each place where this is not `theirs` what is different.
    pub fn differences(&self, theirs: &Self, at: &str, found: &mut Vec<String>) {
        let mut say = |what: String| found.push(format!("{at} {what}"));
        if self.kind != theirs.kind {
            let kind = |kind: &str| if kind.is_empty() { "anything".to_owned() } else { kind.to_owned() };
            say(format!("is {} instead of {}", kind(&self.kind), kind(&theirs.kind)));
        }
        if self.words != theirs.words {
            say(format!("is one of {:?} instead of {:?}", self.words, theirs.words));
        }
        let (least, most) = theirs.range;
        if least.is_some_and(|least| least != self.range.0.unwrap_or_default()) {
            say(format!("is at least {:?} instead of {least:?}", self.range.0));
        }
        if most.is_some_and(|_| most != self.range.1) {
            say(format!("is at most {:?} instead of {most:?}", self.range.1));
        }
        for name in self.required.symmetric_difference(&theirs.required) {
            let here = if self.required.contains(name) { "is required" } else { "is not required" };
            say(format!(".{name} {here}"));
        }
        for name in theirs.fields.keys().filter(|name| !self.fields.contains_key(*name)) {
            say(format!(".{name} is missing"));
        }
        for name in self.fields.keys().filter(|name| !theirs.fields.contains_key(*name)) {
            say(format!(".{name} is added"));
        }
        for (name, field) in &self.fields {
            if let Some(theirs) = theirs.fields.get(name) {
                field.differences(theirs, &format!("{at} .{name}"), found);
            }
        }
        if let (Some(ours), Some(theirs)) = (&self.items, &theirs.items) {
            ours.differences(theirs, &format!("{at} []"), found);
        }
    }
}
