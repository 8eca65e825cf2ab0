//! `GET /vm/config`: the whole configuration.

use super::answer::Answer;
use super::endpoint::Call;

/// `GET /vm/config`.
pub fn get(call: &Call<'_>) -> Answer {
    Answer::json(&call.controller.spec())
}
