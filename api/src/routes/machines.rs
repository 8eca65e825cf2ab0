//! `/api/v1/machines`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Shared;
use super::error::{ApiError, ErrorBody};
use super::extract::Body;
use super::resource::Deletable;
use crate::service::ServiceError;
use crate::service::model::{Machine, MachineSpec};

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

impl Deletable for Machine {
    type How = DeleteParams;
    const KEPT: &'static str = "It runs";

    async fn delete(service: &Shared, name: &str, how: DeleteParams) -> Result<(), ServiceError> {
        service.delete_machine(name, how.force).await
    }
}
