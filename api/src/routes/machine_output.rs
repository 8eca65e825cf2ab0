//! `/api/v1/machines/NAME/logs` and `console`

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Shared;
use super::error::{ApiError, ErrorBody};
use super::extract::{Name, Params, number};

/// Bytes without a media type of their own.
const BYTES: &str = "application/octet-stream";

/// Which output is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LogParams {
    /// The sequence number to begin at.
    #[serde(default, deserialize_with = "number")]
    #[param(required = false, minimum = 0, maximum = 9007199254740991_i64)]
    pub since: u64,
    /// Go on until the machine has ended.
    #[serde(default)]
    #[param(required = false)]
    pub follow: bool,
}

/// A machine's output as log frames: 16 bytes of header (byte 0 the stream, 1 stdout or 2 stderr; bytes 4
/// to 7 the payload's length, bytes 8 to 15 the number of its first byte, big endian), then the payload.
#[utoipa::path(get, path = "/api/v1/machines/{name}/logs", tag = "machines", operation_id = "readLogs",
    params(("name" = String, Path, description = "The machine's id, its name, or the start of its id"), LogParams),
    responses(
        (status = 200, description = "Log frames", content_type = "application/octet-stream", body = Vec<u8>),
        (status = 400, description = "Path or query cannot be understood", body = ErrorBody),
        (status = 404, description = "There is no such machine", body = ErrorBody),
        (status = 409, description = "Several ids start so", body = ErrorBody),
        (status = 500, description = "The host failed", body = ErrorBody),
    ))]
pub async fn logs(
    State(service): State<Shared>,
    Name(name): Name,
    Params(params): Params<LogParams>,
) -> Result<Response, ApiError> {
    let output = service.output(&name, params.since, params.follow).await?;
    let pieces = stream::unfold(output, |mut output| async move {
        let piece = output.next_piece().await?;
        Some((Ok::<_, std::convert::Infallible>(piece), output))
    });
    Ok(([(header::CONTENT_TYPE, BYTES)], Body::from_stream(pieces)).into_response())
}

/// The end of a machine's console: what kernel and firmware printed in its last start.
#[utoipa::path(get, path = "/api/v1/machines/{name}/console", tag = "machines", operation_id = "readConsole",
    params(("name" = String, Path, description = "The machine's id, its name, or the start of its id")),
    responses(
        (status = 200, description = "The console's bytes", content_type = "application/octet-stream", body = Vec<u8>),
        (status = 400, description = "The path cannot be understood", body = ErrorBody),
        (status = 404, description = "There is no such machine", body = ErrorBody),
        (status = 409, description = "Several ids start so", body = ErrorBody),
        (status = 500, description = "The host failed", body = ErrorBody),
    ))]
pub async fn console(State(service): State<Shared>, Name(name): Name) -> Result<Response, ApiError> {
    let bytes = service.console(&name).await?;
    Ok(([(header::CONTENT_TYPE, BYTES)], bytes).into_response())
}
