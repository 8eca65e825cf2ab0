//! `PATCH /vm`: let the machine stand still, or go on.

use serde::Deserialize;

use super::answer::Answer;
use super::endpoint::{Call, answer};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub(super) struct Vm {
    state: Wanted,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
enum Wanted {
    Paused,
    Resumed,
}

/// `PATCH /vm`.
pub fn patch(call: &Call<'_>) -> Answer {
    answer(call.json::<Vm>().map(|vm| {
        Answer::of(match vm.state {
            Wanted::Paused => call.controller.pause(),
            Wanted::Resumed => call.controller.resume(),
        })
    }))
}
