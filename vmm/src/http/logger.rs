//! `PUT /logger`: where messages go.

use super::answer::Answer;
use super::endpoint::{Call, answer};

/// `PUT /logger`.
pub fn put(call: &Call<'_>) -> Answer {
    answer(call.json().map(|section| Answer::of(call.controller.set_logger(section))))
}
