//! Our description (OpenAPI 3.1) against Firecracker's (Swagger 2.0): paths, methods, bodies, answers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::schema::Schema;

/// An operation in a form that both descriptions have.
struct Operation {
    /// What generated clients call it.
    id: String,
    /// The body, and whether it must be there.
    body: Option<(Schema, bool)>,
    /// Answers by status.
    answers: BTreeMap<String, Option<Schema>>,
}

/// What differs, one sentence each, beginning with method and path.
pub fn differences(ours: &Value, theirs: &Value) -> Vec<String> {
    let (ours, theirs) = (operations(ours, ours_read), operations(theirs, theirs_read));
    let mut found = Vec::new();
    for (name, operation) in &theirs {
        match ours.get(name) {
            Some(other) => compare(name, other, operation, &mut found),
            None => found.push(format!("{name} is missing")),
        }
    }
    found.extend(
        ours.keys().filter(|name| !theirs.contains_key(*name)).map(|name| format!("{name} is added")),
    );
    found
}

fn operations(document: &Value, read: fn(&Value, &Value) -> Operation) -> BTreeMap<String, Operation> {
    let mut operations = BTreeMap::new();
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            operations.insert(format!("{} {path}", method.to_uppercase()), read(operation, document));
        }
    }
    operations
}

fn ours_read(operation: &Value, document: &Value) -> Operation {
    let schema = |value: &Value| Schema::read(&value["content"]["application/json"]["schema"], document);
    let body = operation.get("requestBody").map(|body| (schema(body), body["required"] == true));
    let answer = |value: &Value| value.get("content").map(|_| schema(value));
    read(operation, body, answer)
}

fn theirs_read(operation: &Value, document: &Value) -> Operation {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let body = parameters
        .into_iter()
        .find(|parameter| parameter["in"] == "body")
        .map(|body| (Schema::read(&body["schema"], document), body["required"] == true));
    let answer = |value: &Value| value.get("schema").map(|schema| Schema::read(schema, document));
    read(operation, body, answer)
}

fn read(
    operation: &Value,
    body: Option<(Schema, bool)>,
    answer: impl Fn(&Value) -> Option<Schema>,
) -> Operation {
    let answers = operation["responses"].as_object().into_iter().flatten();
    Operation {
        id: operation["operationId"].as_str().unwrap_or_default().to_owned(),
        body,
        answers: answers.map(|(status, value)| (status.clone(), answer(value))).collect(),
    }
}

fn compare(name: &str, ours: &Operation, theirs: &Operation, found: &mut Vec<String>) {
    if ours.id != theirs.id {
        found.push(format!("{name} is called {} instead of {}", ours.id, theirs.id));
    }
    match (&ours.body, &theirs.body) {
        (Some((ours, must)), Some((theirs, should))) => {
            if must != should {
                found.push(format!("{name} body is {}", if *must { "required" } else { "not required" }));
            }
            ours.differences(theirs, &format!("{name} body"), found);
        }
        (None, None) => {}
        (ours, _) => {
            found.push(format!("{name} has {}", if ours.is_some() { "a body" } else { "no body" }));
        }
    }
    let statuses: BTreeSet<&String> = ours.answers.keys().chain(theirs.answers.keys()).collect();
    for status in statuses {
        let at = format!("{name} {status}");
        match (ours.answers.get(status), theirs.answers.get(status)) {
            (Some(Some(ours)), Some(Some(theirs))) => ours.differences(theirs, &at, found),
            (Some(None), Some(None)) => {}
            (Some(_), None) => found.push(format!("{at} is added")),
            (None, _) => found.push(format!("{at} is missing")),
            (Some(ours), Some(_)) => {
                found.push(format!("{at} has {}", if ours.is_some() { "a body" } else { "no body" }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn theirs() -> Value {
        let schema = json!({"type": "object", "required": ["a"], "properties": {
            "a": {"type": "integer", "minimum": 3}, "b": {"$ref": "#/definitions/B"}}});
        json!({
            "paths": {"/x": {"put": {
                "operationId": "putX",
                "parameters": [{"in": "body", "required": true, "schema": schema}],
                "responses": {"204": {"description": ""}, "default": {"schema": {"type": "object"}}},
            }}},
            "definitions": {"B": {"type": "string", "enum": ["v", "w"]}},
        })
    }

    fn ours() -> Value {
        let schema = json!({"type": "object", "required": ["a"], "properties": {
            "a": {"type": "integer", "minimum": 3},
            "b": {"oneOf": [{"$ref": "#/components/schemas/B"}, {"type": "null"}]}}});
        let content = |schema: Value| json!({"application/json": {"schema": schema}});
        json!({
            "paths": {"/x": {"put": {
                "operationId": "putX",
                "requestBody": {"required": true, "content": content(schema)},
                "responses": {"204": {"description": ""}, "default": {"content": content(json!({"type": "object"}))}},
            }}},
            "components": {"schemas": {"B": {"type": "string", "enum": ["w", "v"]}}},
        })
    }

    #[test]
    fn the_same_in_both_forms_is_the_same() {
        assert_eq!(differences(&ours(), &theirs()), Vec::<String>::new());
    }

    #[test]
    fn whatever_differs_is_named() {
        let body = "/paths/~1x/put/requestBody/content/application~1json/schema";
        let cases = [
            ("/paths/~1x/put/operationId", json!("setX"), "is called setX"),
            ("/paths/~1x/put/requestBody/required", json!(false), "body is not required"),
            (&format!("{body}/required"), json!([]), "body .a is not required"),
            (&format!("{body}/properties/a/type"), json!("string"), "body .a is string instead of integer"),
            (&format!("{body}/properties/a/minimum"), json!(0), "body .a is at least"),
            (&format!("{body}/properties/b"), json!({"type": "string"}), "body .b is one of"),
            (&format!("{body}/properties"), json!({}), "body .a is missing"),
            ("/paths/~1x/put/responses", json!({}), "204 is missing"),
            ("/paths/~1x", json!({}), "PUT /x is missing"),
        ];
        for (place, value, expected) in cases {
            let mut changed = ours();
            *changed.pointer_mut(place).unwrap() = value;
            let found = differences(&changed, &theirs());
            assert!(found.iter().any(|sentence| sentence.contains(expected)), "{expected}: {found:?}");
        }
        let mut added = ours();
        added["paths"]["/y"]["get"] = json!({});
        assert_eq!(differences(&added, &theirs()), ["GET /y is added"]);
    }
}
