//! `GET /`: what runs here.

use serde::Serialize;

use super::answer::Answer;
use super::endpoint::Call;
use crate::machine::State;

#[derive(Serialize)]
struct InstanceInfo<'a> {
    app_name: &'static str,
    id: &'a str,
    state: &'static str,
    vmm_version: &'static str,
}

/// `GET /`.
pub fn get(call: &Call<'_>) -> Answer {
    let state = match call.controller.state() {
        State::NotStarted => "Not started",
        // An ended machine's process follows it; Firecracker has no word for the moment between.
        State::Paused => "Paused",
        State::Running | State::Ended => "Running",
    };
    Answer::json(&InstanceInfo {
        app_name: "Bulkhead",
        id: call.controller.id(),
        state,
        vmm_version: env!("CARGO_PKG_VERSION"),
    })
}
