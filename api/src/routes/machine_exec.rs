//! `/api/v1/machines/NAME/exec` and `copy`

use std::convert::Infallible;

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bulkhead_protocol::exec::UPGRADE;
use hyper::upgrade::OnUpgrade;

use super::Shared;
use super::error::{ApiError, ErrorBody};
use super::extract::{Body, Name};
use crate::service::machines::{ExecStream, Wire};
use crate::service::model::{CopySpec, ExecSpec};

/// The connection of a client that asks for frames instead of HTTP.
pub struct Connection(Option<OnUpgrade>);

impl<S: Send + Sync> FromRequestParts<S> for Connection {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let asked = parts.headers.get(header::UPGRADE);
        let asks = asked.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(UPGRADE.as_bytes()));
        Ok(Self(parts.extensions.remove::<OnUpgrade>().filter(|_| asks)))
    }
}

/// Run a process in a machine's container: as the container's own, with its environment, limits and privileges,
/// but for what the body says. Answered when the program has begun. With `detach` that is all. Otherwise the request
/// asks for `Connection: Upgrade` and `Upgrade: bulkhead-exec`, the answer is 101, and then both sides send frames, as
/// in Docker's multiplexed stream: 8 bytes of header (byte 0 the kind, bytes 1 to 3 zero, bytes 4 to 7 the payload's
/// length, big endian, at most 65536), then the payload. The client sends kind 0, bytes for the input (none: its end),
/// and 3, a terminal's new size (rows and columns, two bytes each, big endian). It hears 1, output (a terminal's is all
/// of it), 2, errors, and last 4, one byte, the exit status (128 and the signal where one ended it). Who ends his
/// sending side has left: the process runs on, and nobody reads what it writes.
#[utoipa::path(post, path = "/api/v1/machines/{name}/exec", tag = "machines", operation_id = "execInMachine",
    params(("name" = String, Path, description = "The machine's id, its name, or the start of its id")),
    request_body = ExecSpec,
    responses(
        (status = 101, description = "The program has begun; frames follow"),
        (status = 204, description = "The program has begun"),
        (status = 400, description = "Path or body cannot be understood", body = ErrorBody),
        (status = 404, description = "There is no such machine", body = ErrorBody),
        (status = 408, description = "The body takes too long", body = ErrorBody),
        (status = 409, description = "It does not run or is paused, its guest does not obey, or too many run", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is not JSON", body = ErrorBody),
        (status = 422, description = "A field cannot be obeyed; with the code program_not_found or \
            program_not_executable the program did not begin", body = ErrorBody),
        (status = 426, description = "The request does not ask for the upgrade", body = ErrorBody),
        (status = 500, description = "The host failed", body = ErrorBody),
    ))]
pub async fn exec(
    State(service): State<Shared>,
    Name(name): Name,
    Connection(connection): Connection,
    Body(spec): Body<ExecSpec>,
) -> Result<Response, ApiError> {
    let connection = match (spec.detach, connection) {
        (false, None) => return Err(no_upgrade()),
        (_, connection) => connection,
    };
    match (service.exec(&name, spec).await?, connection) {
        (Some(stream), Some(connection)) => Ok(switch(stream, connection)),
        _ => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

/// Copy files out of a machine's container or into it, or tell what is at a path. The request asks for the upgrade and
/// gets the frames of `exec`: output (kind 1) is a tar archive or, telling, a JSON document `{"kind", "path"}` (kind:
/// missing, file, folder, link or other; path: without links); input (kind 0) is a tar archive; errors (2) are
/// sentences, and the status (4) is 0 or 1. In the container nothing of it is run, and no path leads out of its root.
#[utoipa::path(post, path = "/api/v1/machines/{name}/copy", tag = "machines", operation_id = "copyInMachine",
    params(("name" = String, Path, description = "The machine's id, its name, or the start of its id")),
    request_body = CopySpec,
    responses(
        (status = 101, description = "The copy has begun; frames follow"),
        (status = 400, description = "Path or body cannot be understood", body = ErrorBody),
        (status = 404, description = "There is no such machine", body = ErrorBody),
        (status = 408, description = "The body takes too long", body = ErrorBody),
        (status = 409, description = "It does not run or is paused, its guest does not obey, or too many run", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is not JSON", body = ErrorBody),
        (status = 422, description = "A field cannot be obeyed, or nothing is at the path", body = ErrorBody),
        (status = 426, description = "The request does not ask for the upgrade", body = ErrorBody),
        (status = 500, description = "The host failed", body = ErrorBody),
    ))]
pub async fn copy(
    State(service): State<Shared>,
    Name(name): Name,
    Connection(connection): Connection,
    Body(spec): Body<CopySpec>,
) -> Result<Response, ApiError> {
    let connection = connection.ok_or_else(no_upgrade)?;
    Ok(switch(service.copy(&name, spec).await?, connection))
}

fn switch(stream: ExecStream, connection: OnUpgrade) -> Response {
    tokio::spawn(async move {
        // A client that is gone by now has left.
        if let Ok(upgraded) = connection.await
            && let Ok(client) = Wire::of(upgraded)
        {
            stream.serve(client).await;
        }
    });
    let headers = [(header::CONNECTION, "Upgrade"), (header::UPGRADE, UPGRADE)];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

fn no_upgrade() -> ApiError {
    let message = format!("This stream needs Connection: Upgrade and Upgrade: {UPGRADE}");
    ApiError::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message)
}
