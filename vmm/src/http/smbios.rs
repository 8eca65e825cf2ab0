//! `PUT /smbios`: which machine the guest finds itself in. An addition to Firecracker's API.

use super::answer::Answer;
use super::endpoint::{Call, answer};

/// `PUT /smbios`.
pub fn put(call: &Call<'_>) -> Answer {
    answer(call.json().map(|section| Answer::of(call.controller.configure(|spec| spec.set_smbios(section)))))
}
