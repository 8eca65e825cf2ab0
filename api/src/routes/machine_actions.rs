//! `/api/v1/machines/NAME/start`, `stop`, `kill`, `pause`, `unpause`, `wait`; `PATCH /api/v1/machines/NAME`

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Shared;
use super::error::{ApiError, ErrorBody};
use super::extract::{Body, Name, OptionalBody, Params};
use crate::service::machines::Until;
use crate::service::model::{KillMachine, Machine, StopMachine, UpdateMachine};

/// Start a machine. The answer says that it is on its way; wait for or watch its phase.
#[utoipa::path(post, path = "/api/v1/machines/{name}/start", tag = "machines", operation_id = "startMachine",
    params(("name" = String, Path, description = "The machine's id, its name, or the start of its id")),
    responses(
        (status = 202, description = "It is on its way", body = Machine),
        (status = 400, description = "The path cannot be understood", body = ErrorBody),
        (status = 404, description = "There is no such machine", body = ErrorBody),
        (status = 409, description = "It runs already, or a port or a volume is taken", body = ErrorBody),
        (status = 500, description = "The host failed", body = ErrorBody),
    ))]
pub async fn start(
    State(service): State<Shared>,
    Name(name): Name,
) -> Result<(StatusCode, Json<Machine>), ApiError> {
    Ok((StatusCode::ACCEPTED, Json(service.start_machine(&name).await?)))
}

/// Stop a machine: its stop signal, then, after a while, a kill. Answered when it has ended.
#[utoipa::path(post, path = "/api/v1/machines/{name}/stop", tag = "machines", operation_id = "stopMachine",
    params(("name" = String, Path, description = "The machine's id, its name, or the start of its id")),
    request_body = Option<StopMachine>,
    responses(
        (status = 200, description = "It does not run", body = Machine),
        (status = 400, description = "Path or body cannot be understood", body = ErrorBody),
        (status = 404, description = "There is no such machine", body = ErrorBody),
        (status = 408, description = "The body takes too long", body = ErrorBody),
        (status = 409, description = "It is on its way up, or several ids start so", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is not JSON", body = ErrorBody),
        (status = 422, description = "A field cannot be obeyed", body = ErrorBody),
        (status = 500, description = "The host failed", body = ErrorBody),
    ))]
pub async fn stop(
    State(service): State<Shared>,
    Name(name): Name,
    OptionalBody(body): OptionalBody<StopMachine>,
) -> Result<Json<Machine>, ApiError> {
    Ok(Json(service.stop_machine(&name, body.timeout_s).await?))
}

/// Send a signal to a machine's container; KILL also ends a machine that does not answer.
#[utoipa::path(post, path = "/api/v1/machines/{name}/kill", tag = "machines", operation_id = "killMachine",
    params(("name" = String, Path, description = "The machine's id, its name, or the start of its id")),
    request_body = Option<KillMachine>,
    responses(
        (status = 200, description = "It was sent", body = Machine),
        (status = 400, description = "Path or body cannot be understood", body = ErrorBody),
        (status = 404, description = "There is no such machine", body = ErrorBody),
        (status = 408, description = "The body takes too long", body = ErrorBody),
        (status = 409, description = "It does not run or is paused, or its guest does not obey", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is not JSON", body = ErrorBody),
        (status = 422, description = "A field cannot be obeyed", body = ErrorBody),
        (status = 500, description = "The host failed", body = ErrorBody),
    ))]
pub async fn kill(
    State(service): State<Shared>,
    Name(name): Name,
    OptionalBody(body): OptionalBody<KillMachine>,
) -> Result<Json<Machine>, ApiError> {
    Ok(Json(service.kill_machine(&name, body.signal).await?))
}

/// Hold a machine: its processors stop, its memory stays, and it goes on where it was.
#[utoipa::path(post, path = "/api/v1/machines/{name}/pause", tag = "machines", operation_id = "pauseMachine",
    params(("name" = String, Path, description = "The machine's id, its name, or the start of its id")),
    responses(
        (status = 200, description = "It is paused", body = Machine),
        (status = 400, description = "The path cannot be understood", body = ErrorBody),
        (status = 404, description = "There is no such machine", body = ErrorBody),
        (status = 409, description = "It does not run, or is paused already", body = ErrorBody),
        (status = 500, description = "The host failed", body = ErrorBody),
    ))]
pub async fn pause(State(service): State<Shared>, Name(name): Name) -> Result<Json<Machine>, ApiError> {
    Ok(Json(service.pause_machine(&name).await?))
}

/// Let a machine that is paused go on.
#[utoipa::path(post, path = "/api/v1/machines/{name}/unpause", tag = "machines", operation_id = "unpauseMachine",
    params(("name" = String, Path, description = "The machine's id, its name, or the start of its id")),
    responses(
        (status = 200, description = "It runs", body = Machine),
        (status = 400, description = "The path cannot be understood", body = ErrorBody),
        (status = 404, description = "There is no such machine", body = ErrorBody),
        (status = 409, description = "It is not paused", body = ErrorBody),
        (status = 500, description = "The host failed", body = ErrorBody),
    ))]
pub async fn unpause(State(service): State<Shared>, Name(name): Name) -> Result<Json<Machine>, ApiError> {
    Ok(Json(service.unpause_machine(&name).await?))
}

/// Change a machine, whether it runs or not. What the body does not name stays.
#[utoipa::path(patch, path = "/api/v1/machines/{name}", tag = "machines", operation_id = "updateMachine",
    params(("name" = String, Path, description = "The machine's id, its name, or the start of its id")),
    request_body = UpdateMachine,
    responses(
        (status = 200, description = "The machine", body = Machine),
        (status = 400, description = "Path or body cannot be understood", body = ErrorBody),
        (status = 404, description = "There is no such machine", body = ErrorBody),
        (status = 408, description = "The body takes too long", body = ErrorBody),
        (status = 409, description = "It is on its way up, or several ids start so", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is not JSON", body = ErrorBody),
        (status = 422, description = "A field cannot be obeyed", body = ErrorBody),
        (status = 500, description = "The host failed", body = ErrorBody),
    ))]
pub async fn update(
    State(service): State<Shared>,
    Name(name): Name,
    Body(change): Body<UpdateMachine>,
) -> Result<Json<Machine>, ApiError> {
    Ok(Json(service.update_machine(&name, change).await?))
}

fn default_patience() -> u32 {
    60
}

/// What to wait for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WaitParams {
    /// The start has succeeded or failed, or the machine has ended.
    #[serde(default)]
    #[param(inline, required = false)]
    pub until: Until,
    /// How long to wait at most, in seconds.
    #[serde(default = "default_patience")]
    #[param(required = false, maximum = 3600, default = 60)]
    pub timeout_s: u32,
}

/// Wait for a machine. Answered with the machine as it is then, also when the time is over: look at its phase.
#[utoipa::path(post, path = "/api/v1/machines/{name}/wait", tag = "machines", operation_id = "waitMachine",
    params(("name" = String, Path, description = "The machine's id, its name, or the start of its id"), WaitParams),
    responses(
        (status = 200, description = "The machine", body = Machine),
        (status = 400, description = "Path or query cannot be understood", body = ErrorBody),
        (status = 404, description = "There is no such machine", body = ErrorBody),
        (status = 409, description = "It is on its way up, or several ids start so", body = ErrorBody),
        (status = 500, description = "The host failed", body = ErrorBody),
    ))]
pub async fn wait(
    State(service): State<Shared>,
    Name(name): Name,
    Params(params): Params<WaitParams>,
) -> Result<Json<Machine>, ApiError> {
    let patience = Duration::from_secs(u64::from(params.timeout_s));
    Ok(Json(service.wait_machine(&name, params.until, patience).await?))
}
