//! `/api/v1/volumes`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::Shared;
use super::error::{ApiError, ErrorBody};
use super::extract::{Body, Name, Params};
use super::watch::{ListParams, WatchEvent, stream_changes};
use crate::service::model::{CreateVolume, List, Volume};

/// List all volumes, or watch them.
#[utoipa::path(get, path = "/api/v1/volumes", tag = "volumes", operation_id = "listVolumes", params(ListParams),
    responses(
        (status = 200, description = "The volumes, or with `watch` their changes", content(
            (List<Volume> = "application/json"), (WatchEvent<Volume> = "application/jsonl"))),
        (status = 400, description = "The query cannot be understood", body = ErrorBody),
        (status = 410, description = "Changes since then are no longer kept", body = ErrorBody),
        (status = 500, description = "The host failed", body = ErrorBody),
    ))]
pub async fn list(
    State(service): State<Shared>,
    Params(params): Params<ListParams>,
) -> Result<Response, ApiError> {
    if params.watch {
        return stream_changes::<Volume>(&service, params.resource_version).await;
    }
    Ok(Json(service.volumes().await?).into_response())
}

/// Make a volume.
#[utoipa::path(post, path = "/api/v1/volumes", tag = "volumes", operation_id = "createVolume",
    request_body = CreateVolume,
    responses(
        (status = 201, description = "The volume", body = Volume),
        (status = 400, description = "The body cannot be understood", body = ErrorBody),
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

/// Read a volume.
#[utoipa::path(get, path = "/api/v1/volumes/{name}", tag = "volumes", operation_id = "readVolume",
    params(("name" = String, Path, description = "The volume's id, its name, or the start of its id")),
    responses(
        (status = 200, description = "The volume", body = Volume),
        (status = 400, description = "The path cannot be understood", body = ErrorBody),
        (status = 404, description = "There is no such volume", body = ErrorBody),
        (status = 409, description = "Several ids start so", body = ErrorBody),
        (status = 500, description = "The host failed", body = ErrorBody),
    ))]
pub async fn read(State(service): State<Shared>, Name(name): Name) -> Result<Json<Volume>, ApiError> {
    Ok(Json(service.volume(&name).await?))
}

/// Delete a volume.
#[utoipa::path(delete, path = "/api/v1/volumes/{name}", tag = "volumes", operation_id = "deleteVolume",
    params(("name" = String, Path, description = "The volume's id, its name, or the start of its id")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 400, description = "The path cannot be understood", body = ErrorBody),
        (status = 404, description = "There is no such volume", body = ErrorBody),
        (status = 409, description = "A machine uses it", body = ErrorBody),
        (status = 500, description = "The host failed", body = ErrorBody),
    ))]
pub async fn delete(State(service): State<Shared>, Name(name): Name) -> Result<StatusCode, ApiError> {
    service.delete_volume(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}
