//! `/api/v1/images`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::Shared;
use super::error::{ApiError, ErrorBody};
use super::extract::{Body, Name, Params};
use super::watch::{ListParams, WatchEvent, stream_changes};
use crate::service::model::{Image, ImportImage, List};

/// List all images, or watch them.
#[utoipa::path(get, path = "/api/v1/images", tag = "images", operation_id = "listImages", params(ListParams),
    responses(
        (status = 200, description = "The images, or with `watch` their changes", content(
            (List<Image> = "application/json"), (WatchEvent<Image> = "application/jsonl"))),
        (status = 400, description = "The query cannot be understood", body = ErrorBody),
        (status = 410, description = "Changes since then are no longer kept", body = ErrorBody),
        (status = 500, description = "The host failed", body = ErrorBody),
    ))]
pub async fn list(
    State(service): State<Shared>,
    Params(params): Params<ListParams>,
) -> Result<Response, ApiError> {
    if params.watch {
        return stream_changes::<Image>(&service, params.resource_version).await;
    }
    Ok(Json(service.images().await?).into_response())
}

/// Make an image from a file or a source on the host.
#[utoipa::path(post, path = "/api/v1/images", tag = "images", operation_id = "importImage",
    request_body = ImportImage,
    responses(
        (status = 201, description = "The image", body = Image),
        (status = 400, description = "The body cannot be understood", body = ErrorBody),
        (status = 404, description = "There is no such source", body = ErrorBody),
        (status = 408, description = "The body takes too long", body = ErrorBody),
        (status = 409, description = "The name is taken", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is not JSON", body = ErrorBody),
        (status = 422, description = "A field cannot be obeyed", body = ErrorBody),
        (status = 500, description = "The host failed", body = ErrorBody),
    ))]
pub async fn import(
    State(service): State<Shared>,
    Body(request): Body<ImportImage>,
) -> Result<(StatusCode, Json<Image>), ApiError> {
    Ok((StatusCode::CREATED, Json(service.import_image(request).await?)))
}

/// Read an image.
#[utoipa::path(get, path = "/api/v1/images/{name}", tag = "images", operation_id = "readImage",
    params(("name" = String, Path, description = "The image's id, its name, or the start of its id")),
    responses(
        (status = 200, description = "The image", body = Image),
        (status = 400, description = "The path cannot be understood", body = ErrorBody),
        (status = 404, description = "There is no such image", body = ErrorBody),
        (status = 409, description = "Several ids start so", body = ErrorBody),
        (status = 500, description = "The host failed", body = ErrorBody),
    ))]
pub async fn read(State(service): State<Shared>, Name(name): Name) -> Result<Json<Image>, ApiError> {
    Ok(Json(service.image(&name).await?))
}

/// Delete an image.
#[utoipa::path(delete, path = "/api/v1/images/{name}", tag = "images", operation_id = "deleteImage",
    params(("name" = String, Path, description = "The image's id, its name, or the start of its id")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 400, description = "The path cannot be understood", body = ErrorBody),
        (status = 404, description = "There is no such image", body = ErrorBody),
        (status = 409, description = "A machine uses it", body = ErrorBody),
        (status = 500, description = "The host failed", body = ErrorBody),
    ))]
pub async fn delete(State(service): State<Shared>, Name(name): Name) -> Result<StatusCode, ApiError> {
    service.delete_image(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}
