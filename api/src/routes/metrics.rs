//! `/metrics`: figures for Prometheus, in the place where it looks for them.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::Shared;
use super::error::{ApiError, ErrorBody};

/// How many machines there are, and each one's figures, in Prometheus's text format.
#[utoipa::path(get, path = "/metrics", tag = "host", operation_id = "readMetrics",
    responses(
        (status = 200, description = "Figures", body = String, content_type = "text/plain"),
        (status = 500, description = "The host failed", body = ErrorBody),
    ))]
pub async fn metrics(State(service): State<Shared>) -> Result<Response, ApiError> {
    let text = service.exposition().await?;
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
