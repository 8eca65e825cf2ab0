//! `PUT /serial`: where the guest's console goes.

use super::answer::Answer;
use super::endpoint::{Call, answer};

/// `PUT /serial`.
pub fn put(call: &Call<'_>) -> Answer {
    answer(call.json().map(|section| Answer::of(call.controller.configure(|spec| spec.set_serial(section)))))
}
