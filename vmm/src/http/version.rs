//! `GET /version`: which of Firecracker's APIs is spoken.

use super::answer::Answer;
use super::endpoint::Call;
use crate::arguments::FIRECRACKER;

/// `GET /version`.
pub fn get(_call: &Call<'_>) -> Answer {
    Answer::json(&serde_json::json!({"firecracker_version": FIRECRACKER}))
}
