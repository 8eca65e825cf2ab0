//! `GET`, `PUT` and `PATCH /mmds`, and `PUT /mmds/config`: the metadata service.

use hyper::StatusCode;
use serde_json::{Map, Value};

use super::answer::Answer;
use super::endpoint::{Call, answer};
use crate::mmds::MmdsError;

/// `GET /mmds`.
pub fn get(call: &Call<'_>) -> Answer {
    match call.controller.mmds().value() {
        Value::Null => Answer::json(&Map::new()),
        value => Answer::json(&value),
    }
}

/// `PUT /mmds`.
pub fn put(call: &Call<'_>) -> Answer {
    answer(call.json().map(|value| done(call.controller.mmds().put(value))))
}

/// `PATCH /mmds`: a merge patch.
pub fn patch(call: &Call<'_>) -> Answer {
    answer(call.json().map(|patch: Value| done(call.controller.mmds().patch(&patch))))
}

/// `PUT /mmds/config`.
pub fn put_config(call: &Call<'_>) -> Answer {
    answer(
        call.json()
            .map(|section| Answer::of(call.controller.configure(|spec| spec.set_mmds_config(section)))),
    )
}

/// 204, or why not.
fn done(result: Result<(), MmdsError>) -> Answer {
    match result {
        Ok(()) => Answer::Done,
        Err(error @ MmdsError::TooLarge { .. }) => {
            Answer::Fault(StatusCode::PAYLOAD_TOO_LARGE, crate::chain(&error))
        }
        Err(error) => Answer::refused(crate::chain(&error)),
    }
}
