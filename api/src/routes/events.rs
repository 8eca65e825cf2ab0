//! `/api/v1/events`

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::Shared;
use super::error::{ApiError, ErrorBody};
use super::extract::{Name, Params};
use super::watch::{ListParams, WatchEvent, stream_changes};
use crate::service::model::{Event, List};

/// List all events, or watch them.
#[utoipa::path(get, path = "/api/v1/events", tag = "events", operation_id = "listEvents", params(ListParams),
    responses(
        (status = 200, description = "The events, or with `watch` their changes", content(
            (List<Event> = "application/json"), (WatchEvent<Event> = "application/jsonl"))),
        (status = 400, description = "The query cannot be understood", body = ErrorBody),
        (status = 410, description = "Changes since then are no longer kept", body = ErrorBody),
        (status = 500, description = "The host failed", body = ErrorBody),
    ))]
pub async fn list(
    State(service): State<Shared>,
    Params(params): Params<ListParams>,
) -> Result<Response, ApiError> {
    if params.watch {
        return stream_changes::<Event>(&service, params.resource_version).await;
    }
    Ok(Json(service.records().list::<Event>().await?).into_response())
}

/// Read an event.
#[utoipa::path(get, path = "/api/v1/events/{name}", tag = "events", operation_id = "readEvent",
    params(("name" = String, Path, description = "The event's id, its name, or the start of its id")),
    responses(
        (status = 200, description = "The event", body = Event),
        (status = 400, description = "The path cannot be understood", body = ErrorBody),
        (status = 404, description = "There is no such event", body = ErrorBody),
        (status = 409, description = "Several ids start so", body = ErrorBody),
        (status = 500, description = "The host failed", body = ErrorBody),
    ))]
pub async fn read(State(service): State<Shared>, Name(name): Name) -> Result<Json<Event>, ApiError> {
    Ok(Json(service.records().find::<Event>(&name).await?))
}
