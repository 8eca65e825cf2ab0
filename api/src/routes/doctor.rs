//! `/api/v1/doctor` and `/api/v1/version`

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shared;
use super::error::{ApiError, ErrorBody};
use crate::doctor::Report;

/// Will guests boot here, and if not, why not.
#[utoipa::path(get, path = "/api/v1/doctor", tag = "host", operation_id = "readDoctor",
    responses(
        (status = 200, description = "What was found", body = Report),
        (status = 500, description = "The host failed", body = ErrorBody),
    ))]
pub async fn doctor(State(service): State<Shared>) -> Result<Json<Report>, ApiError> {
    Ok(Json(service.examine().await?))
}

/// Which daemon this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// Its version.
    pub version: String,
}

/// Which daemon this is.
#[utoipa::path(get, path = "/api/v1/version", tag = "host", operation_id = "readVersion",
    responses((status = 200, description = "The daemon", body = Version)))]
pub async fn version() -> Json<Version> {
    Json(Version { version: env!("CARGO_PKG_VERSION").to_owned() })
}
