//! `GET`, `PUT` and `PATCH /machine-config`: processors and memory.

use super::answer::Answer;
use super::endpoint::{Call, answer};
use crate::config::MachineConfigChange;

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
    answer(call.json::<MachineConfigChange>().map(|change| {
        if change.is_empty() {
            return Answer::refused("Empty PATCH request.");
        }
        Answer::of(call.controller.configure(|spec| {
            let changed = spec.machine_config.changed(&change);
            spec.set_machine_config(changed)
        }))
    }))
}
