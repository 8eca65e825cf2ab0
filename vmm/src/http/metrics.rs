//! `PUT /metrics`: where figures go. `GET /metrics/prometheus`: figures now.

use super::answer::Answer;
use super::endpoint::{Call, answer};

/// `PUT /metrics`.
pub fn put(call: &Call<'_>) -> Answer {
    answer(call.json().map(|section| Answer::of(call.controller.set_metrics(section))))
}

/// `GET /metrics/prometheus`: every figure since the process's start.
pub fn prometheus(call: &Call<'_>) -> Answer {
    Answer::Figures(call.controller.exposition())
}
