//! `PUT /vsock`: the socket device.

use super::answer::Answer;
use super::endpoint::{Call, answer};

/// `PUT /vsock`.
pub fn put(call: &Call<'_>) -> Answer {
    answer(call.json().map(|section| Answer::of(call.controller.configure(|spec| spec.set_vsock(section)))))
}
