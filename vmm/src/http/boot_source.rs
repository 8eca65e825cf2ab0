//! `PUT /boot-source`: what boots.

use super::answer::Answer;
use super::endpoint::{Call, answer};

/// `PUT /boot-source`.
pub fn put(call: &Call<'_>) -> Answer {
    answer(call.json().map(|section| Answer::of(call.controller.set_boot_source(section))))
}
