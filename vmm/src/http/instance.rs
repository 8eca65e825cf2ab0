//! `GET /`: what runs here.

use serde::Serialize;

use super::answer::Answer;
use super::endpoint::Call;
use crate::arguments;
use crate::machine::State;

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub(super) struct InstanceInfo<'a> {
    app_name: &'static str,
    id: &'a str,
    #[cfg_attr(feature = "openapi", schema(value_type = super::openapi::InstanceState))]
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
    let (app_name, vmm_version) = arguments::product(std::env::args_os().next());
    Answer::json(&InstanceInfo { app_name, id: call.controller.id(), state, vmm_version })
}
