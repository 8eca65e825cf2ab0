//! `PUT /console`: a virtio console.

use super::answer::Answer;
use super::endpoint::{Call, answer};

/// `PUT /console`.
pub fn put(call: &Call<'_>) -> Answer {
    answer(call.json().map(|section| Answer::of(call.controller.configure(|spec| spec.set_console(section)))))
}
