//! `PUT /cpu-config`: what processors show to the guest.

use super::answer::Answer;
use super::endpoint::{Call, answer};

/// `PUT /cpu-config`.
pub fn put(call: &Call<'_>) -> Answer {
    answer(
        call.json().map(|section| Answer::of(call.controller.configure(|spec| spec.set_cpu_config(section)))),
    )
}
