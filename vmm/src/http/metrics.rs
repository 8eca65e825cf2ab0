//! `PUT /metrics`: where figures go.

use super::answer::Answer;
use super::endpoint::{Call, answer};

/// `PUT /metrics`.
pub fn put(call: &Call<'_>) -> Answer {
    answer(call.json().map(|section| Answer::of(call.controller.set_metrics(section))))
}
