//! `/balloon`, `/balloon/statistics` and `/balloon/hinting`: memory that the guest lends to the host.

use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::endpoint::{Call, answer};
use crate::machine::ControlError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = BalloonUpdate))]
pub(super) struct Amount {
    amount_mib: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = BalloonStatsUpdate))]
pub(super) struct Interval {
    stats_polling_interval_s: u16,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = BalloonStartCmd))]
pub(super) struct Start {
    #[serde(default = "yes")]
    acknowledge_on_stop: bool,
}

fn yes() -> bool {
    true
}

/// `GET /balloon`.
pub fn get(call: &Call<'_>) -> Answer {
    found(call.controller.balloon())
}

/// `PUT /balloon`.
pub fn put(call: &Call<'_>) -> Answer {
    answer(call.json().map(|section| Answer::of(call.controller.configure(|spec| spec.set_balloon(section)))))
}

/// `PATCH /balloon`: another size.
pub fn patch(call: &Call<'_>) -> Answer {
    answer(call.json::<Amount>().map(|body| Answer::of(call.controller.set_balloon_amount(body.amount_mib))))
}

/// `GET /balloon/statistics`.
pub fn statistics(call: &Call<'_>) -> Answer {
    found(call.controller.balloon_statistics())
}

/// `PATCH /balloon/statistics`: another interval.
pub fn patch_statistics(call: &Call<'_>) -> Answer {
    answer(
        call.json::<Interval>()
            .map(|body| Answer::of(call.controller.set_balloon_interval(body.stats_polling_interval_s))),
    )
}

/// `PATCH /balloon/hinting/start`; the body may be left out.
pub fn start_hinting(call: &Call<'_>) -> Answer {
    let start =
        if call.body.is_empty() { Ok(Start { acknowledge_on_stop: true }) } else { call.json::<Start>() };
    answer(start.map(|body| Answer::of(call.controller.start_hinting(body.acknowledge_on_stop))))
}

/// `GET /balloon/hinting/status`.
pub fn hinting_status(call: &Call<'_>) -> Answer {
    found(call.controller.hinting_status())
}

/// `PATCH /balloon/hinting/stop`; the body says nothing.
pub fn stop_hinting(call: &Call<'_>) -> Answer {
    Answer::of(call.controller.stop_hinting())
}

fn found<T: Serialize>(result: Result<T, ControlError>) -> Answer {
    match result {
        Ok(value) => Answer::json(&value),
        Err(error) => Answer::refused(crate::chain(&error)),
    }
}
