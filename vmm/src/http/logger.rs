//! `PUT /logger`: where messages go.

use super::answer::Answer;
use super::endpoint::{Call, answer};

/// `PUT /logger`.
pub fn put(call: &Call<'_>) -> Answer {
    answer(call.json().map(|section| Answer::of(call.controller.configure(|spec| spec.set_logger(section)))))
}
