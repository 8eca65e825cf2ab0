//! `GET /version`: which of Firecracker's APIs is spoken.

use serde::Serialize;

use super::answer::Answer;
use super::endpoint::Call;
use crate::arguments::FIRECRACKER;

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub(super) struct FirecrackerVersion {
    firecracker_version: &'static str,
}

/// `GET /version`.
pub fn get(_call: &Call<'_>) -> Answer {
    Answer::json(&FirecrackerVersion { firecracker_version: FIRECRACKER })
}
