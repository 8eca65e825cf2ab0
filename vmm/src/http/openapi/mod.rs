//! What this API is, in OpenAPI 3.1: `vmm/openapi.yaml`. Built only with the feature `openapi`, for
//! `cargo xtask openapi`.
//!
//! Every route needs a row in [`operations`], and the types of its row derive `utoipa::ToSchema` with that
//! feature; a route without a row, or a row without a route, makes no document.

mod operations;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use self::operations::{OPERATIONS, Operation};
use super::route;

/// The words for a machine's state.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes what the endpoint writes")]
pub enum InstanceState {
    #[schema(rename = "Not started")]
    NotStarted,
    Running,
    Paused,
}

/// The type of most bodies.
const JSON: &str = "application/json";

/// Schemas by name.
type Schemas = BTreeMap<String, Value>;
/// Puts a schema, and those that it needs, among the named ones, and refers to it.
type Schema = fn(&mut Schemas) -> Value;

/// The description as JSON, or what is missing for it.
pub fn document() -> Result<String, String> {
    let described: BTreeSet<String> = OPERATIONS.iter().map(|operation| pattern(operation)).collect();
    let routes: BTreeSet<String> =
        route::ROUTES.iter().map(|(method, path, _)| format!("{method} {path}")).collect();
    if let Some(missing) = routes.symmetric_difference(&described).next() {
        return Err(format!("{missing} is not both a route and a row of http/openapi/operations.rs"));
    }
    let mut schemas = Schemas::new();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for operation in OPERATIONS {
        let described = describe(operation, &mut schemas);
        paths.entry(operation.path).or_default().insert(operation.method.to_lowercase(), described);
    }
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Bulkhead VMM",
            "description": "The API of one microVM, over a Unix socket: Firecracker's, with additions.",
            "version": crate::arguments::FIRECRACKER,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": schemas},
    });
    Ok(document.to_string())
}

/// `PUT /drives/*` for `PUT /drives/{drive_id}`.
fn pattern(operation: &Operation) -> String {
    let path = operation.path.split_once('{').map_or(operation.path.into(), |(head, _)| format!("{head}*"));
    format!("{} {path}", operation.method)
}

fn describe(operation: &Operation, schemas: &mut Schemas) -> Value {
    let fault = content(JSON, of::<super::answer::Fault>(schemas));
    let answer = match operation.answer {
        Some(schema) => (
            "200",
            json!({"description": "What was asked for.", "content": content(operation.media, schema(schemas))}),
        ),
        None => ("204", json!({"description": "Done."})),
    };
    let mut responses = Map::from_iter([
        (answer.0.to_owned(), answer.1),
        ("default".to_owned(), json!({"description": "Not done, and why.", "content": fault})),
    ]);
    for status in operation.faults {
        responses.insert((*status).to_owned(), json!({"description": "Refused, and why.", "content": fault}));
    }
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "responses": responses,
    });
    if let Some((_, id)) = operation.path.trim_end_matches('}').split_once('{') {
        let schema = json!({"type": "string"});
        let parameter = json!({"name": id, "in": "path", "required": true, "schema": schema});
        described["parameters"] = json!([parameter]);
    }
    if let Some((schema, required)) = operation.body {
        described["requestBody"] = json!({"required": required, "content": content(JSON, schema(schemas))});
    }
    described
}

fn content(media: &str, schema: Value) -> Value {
    json!({media: {"schema": schema}})
}

/// The schema of `T` by its name.
fn of<T: ToSchema>(schemas: &mut Schemas) -> Value {
    let name = T::name().into_owned();
    let mut found = vec![(name.clone(), T::schema())];
    T::schemas(&mut found);
    for (name, schema) in found {
        // No schema has keys that are no strings.
        schemas.insert(name, serde_json::to_value(schema).unwrap_or_default());
    }
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// Any text.
fn text(_: &mut Schemas) -> Value {
    json!({"type": "string"})
}

/// Any object.
fn object(_: &mut Schemas) -> Value {
    json!({"type": "object", "additionalProperties": true})
}
