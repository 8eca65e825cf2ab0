//! `/api/v1/volumes`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::Shared;
use super::error::{ApiError, ErrorBody};
use super::extract::Body;
use super::resource::{Deletable, Plainly};
use crate::service::ServiceError;
use crate::service::model::{CreateVolume, Volume};

/// Make a volume.
#[utoipa::path(post, path = "/api/v1/volumes", tag = "volumes", operation_id = "createVolume",
    request_body = CreateVolume,
    responses(
        (status = 201, description = "The volume", body = Volume),
        (status = 400, description = "The body cannot be understood", body = ErrorBody),
        (status = 404, description = "There is no such source", body = ErrorBody),
        (status = 408, description = "The body takes too long", body = ErrorBody),
        (status = 409, description = "The name is taken", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is not JSON", body = ErrorBody),
        (status = 422, description = "A field cannot be obeyed", body = ErrorBody),
        (status = 500, description = "The host failed", body = ErrorBody),
    ))]
pub async fn create(
    State(service): State<Shared>,
    Body(request): Body<CreateVolume>,
) -> Result<(StatusCode, Json<Volume>), ApiError> {
    Ok((StatusCode::CREATED, Json(service.create_volume(request).await?)))
}

impl Deletable for Volume {
    type How = Plainly;
    const KEPT: &'static str = "A machine uses it";

    async fn delete(service: &Shared, name: &str, _: Plainly) -> Result<(), ServiceError> {
        service.delete_volume(name).await
    }
}
