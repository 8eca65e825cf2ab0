//! `GET /version`: which of Firecracker's APIs is spoken.

use super::answer::Answer;
use super::endpoint::Call;

/// The version of the specification that this VMM follows.
const FIRECRACKER: &str = "1.17.0";

/// `GET /version`.
pub fn get(_call: &Call<'_>) -> Answer {
    Answer::json(&serde_json::json!({"firecracker_version": FIRECRACKER}))
}
