//! `PUT /entropy`: the entropy device.

use super::answer::Answer;
use super::endpoint::{Call, answer};

/// `PUT /entropy`.
pub fn put(call: &Call<'_>) -> Answer {
    answer(call.json().map(|section| Answer::of(call.controller.configure(|spec| spec.set_entropy(section)))))
}
