//! `GET`, `PUT` and `PATCH /machine-config`: processors and memory.

use serde_json::{Map, Value};

use super::answer::Answer;
use super::endpoint::{Call, answer};

/// `GET /machine-config`.
pub fn get(call: &Call<'_>) -> Answer {
    Answer::json(&call.controller.spec().machine_config)
}

/// `PUT /machine-config`: what is not named gets its default.
pub fn put(call: &Call<'_>) -> Answer {
    answer(
        call.json()
            .map(|section| Answer::of(call.controller.configure(|spec| spec.set_machine_config(section)))),
    )
}

/// `PATCH /machine-config`: what is not named stays.
pub fn patch(call: &Call<'_>) -> Answer {
    answer(call.json::<Map<String, Value>>().map(|changes| {
        let mut value = serde_json::json!(call.controller.spec().machine_config);
        if let Value::Object(fields) = &mut value {
            fields.extend(changes);
        }
        let whole = value.to_string();
        put(&Call { body: whole.as_bytes(), ..*call })
    }))
}
