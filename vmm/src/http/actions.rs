//! `PUT /actions`: do something now.

use serde::Deserialize;

use super::answer::Answer;
use super::endpoint::{Call, answer};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = InstanceActionInfo))]
pub(super) struct Action {
    action_type: ActionType,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
enum ActionType {
    InstanceStart,
    FlushMetrics,
    SendCtrlAltDel,
    /// An addition to Firecracker's API.
    PowerButton,
}

/// `PUT /actions`.
pub fn put(call: &Call<'_>) -> Answer {
    answer(call.json::<Action>().map(|action| {
        Answer::of(match action.action_type {
            ActionType::InstanceStart => call.controller.start(),
            ActionType::FlushMetrics => call.controller.flush_metrics(),
            ActionType::SendCtrlAltDel => call.controller.send_ctrl_alt_del(),
            ActionType::PowerButton => call.controller.press_power_button(),
        })
    }))
}
