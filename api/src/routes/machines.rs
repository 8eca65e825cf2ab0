//! `/api/v1/machines`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Shared;
use super::error::{ApiError, ErrorBody};
use super::extract::{Body, Name, Params};
use super::watch::{ListParams, WatchEvent, stream_changes};
use crate::service::model::{List, Machine, MachineSpec};

/// List all machines, or watch them.
#[utoipa::path(get, path = "/api/v1/machines", tag = "machines", operation_id = "listMachines", params(ListParams),
    responses(
        (status = 200, description = "The machines, or with `watch` their changes", content(
            (List<Machine> = "application/json"), (WatchEvent<Machine> = "application/jsonl"))),
        (status = 400, description = "The query cannot be understood", body = ErrorBody),
        (status = 410, description = "Changes since then are no longer kept", body = ErrorBody),
        (status = 500, description = "The host failed", body = ErrorBody),
    ))]
pub async fn list(
    State(service): State<Shared>,
    Params(params): Params<ListParams>,
) -> Result<Response, ApiError> {
    if params.watch {
        return stream_changes::<Machine>(&service, params.resource_version).await;
    }
    Ok(Json(service.machines().await?).into_response())
}

/// Record a machine. It is not started.
#[utoipa::path(post, path = "/api/v1/machines", tag = "machines", operation_id = "createMachine",
    request_body = MachineSpec,
    responses(
        (status = 201, description = "The machine", body = Machine),
        (status = 400, description = "The body cannot be understood", body = ErrorBody),
        (status = 404, description = "There is no such image", body = ErrorBody),
        (status = 408, description = "The body takes too long", body = ErrorBody),
        (status = 409, description = "The name is taken", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is not JSON", body = ErrorBody),
        (status = 422, description = "A field cannot be obeyed", body = ErrorBody),
        (status = 500, description = "The host failed", body = ErrorBody),
    ))]
pub async fn create(
    State(service): State<Shared>,
    Body(spec): Body<MachineSpec>,
) -> Result<(StatusCode, Json<Machine>), ApiError> {
    Ok((StatusCode::CREATED, Json(service.create_machine(spec).await?)))
}

/// Read a machine.
#[utoipa::path(get, path = "/api/v1/machines/{name}", tag = "machines", operation_id = "readMachine",
    params(("name" = String, Path, description = "The machine's id, its name, or the start of its id")),
    responses(
        (status = 200, description = "The machine", body = Machine),
        (status = 400, description = "The path cannot be understood", body = ErrorBody),
        (status = 404, description = "There is no such machine", body = ErrorBody),
        (status = 409, description = "Several ids start so", body = ErrorBody),
        (status = 500, description = "The host failed", body = ErrorBody),
    ))]
pub async fn read(State(service): State<Shared>, Name(name): Name) -> Result<Json<Machine>, ApiError> {
    Ok(Json(service.machine(&name).await?))
}

/// How a machine is deleted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeleteParams {
    /// Kill it if it runs.
    #[serde(default)]
    #[param(required = false)]
    pub force: bool,
}

/// Delete a machine.
#[utoipa::path(delete, path = "/api/v1/machines/{name}", tag = "machines", operation_id = "deleteMachine",
    params(("name" = String, Path, description = "The machine's id, its name, or the start of its id"), DeleteParams),
    responses(
        (status = 204, description = "It is gone"),
        (status = 400, description = "Path or query cannot be understood", body = ErrorBody),
        (status = 404, description = "There is no such machine", body = ErrorBody),
        (status = 409, description = "It runs", body = ErrorBody),
        (status = 500, description = "The host failed", body = ErrorBody),
    ))]
pub async fn delete(
    State(service): State<Shared>,
    Name(name): Name,
    Params(params): Params<DeleteParams>,
) -> Result<StatusCode, ApiError> {
    service.delete_machine(&name, params.force).await?;
    Ok(StatusCode::NO_CONTENT)
}
