//! `POST /api/v1/images`: an image, or how far it is and then the image.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body as AnswerBody;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval};
use utoipa::{IntoParams, ToSchema};

use super::Shared;
use super::error::{ApiError, ErrorBody, ErrorDetail};
use super::extract::{Body, Params};
use super::watch::LINES;
use crate::service::ServiceError;
use crate::service::images::{ImportProgress, Seen};
use crate::service::model::{Image, ImportImage, ProgressItem};

/// From one line to the next, at least.
const PAUSE: Duration = Duration::from_millis(100);

/// A line of an import that is watched. The last one is `imported` or `failed`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ImportEvent {
    /// How far it is.
    Progress {
        /// What has changed since the line before.
        items: Vec<ProgressItem>,
    },
    /// The import is complete.
    Imported {
        /// The image.
        object: Box<Image>,
    },
    /// The import has failed.
    Failed {
        /// The status that the answer would have had.
        status: u16,
        /// Why.
        error: ErrorDetail,
    },
}

/// How an import is answered.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ImportParams {
    /// Answer at once, and tell how far it is: one JSON document a line, ten a second at most, the last of them with
    /// the image or the error. The import ends with the answer.
    #[serde(default)]
    #[param(required = false)]
    pub progress: bool,
}

/// Make an image from a file or a source on the host, or pull it from a registry.
#[utoipa::path(post, path = "/api/v1/images", tag = "images", operation_id = "importImage",
    params(ImportParams),
    request_body = ImportImage,
    responses(
        (status = 200, description = "With `progress`: how far it is, then the image or the error",
            content_type = "application/jsonl", body = ImportEvent),
        (status = 201, description = "The image", body = Image),
        (status = 400, description = "Body or query cannot be understood", body = ErrorBody),
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
    Params(params): Params<ImportParams>,
    Body(request): Body<ImportImage>,
) -> Result<Response, ApiError> {
    if params.progress {
        return Ok(stream_import(service, request));
    }
    let image = service.import_image(request, &Arc::default()).await?;
    Ok((StatusCode::CREATED, Json(image)).into_response())
}

/// An import under way, and who watches it.
struct Watched {
    progress: Arc<ImportProgress>,
    seen: Seen,
    /// The import, in a task of its own: it does not wait for who watches, and ends when he leaves.
    import: JoinSet<Result<Image, ServiceError>>,
    ticks: Interval,
    /// What came out, until it has been told.
    outcome: Option<Result<Image, ApiError>>,
}

fn stream_import(service: Shared, request: ImportImage) -> Response {
    let progress = Arc::<ImportProgress>::default();
    let mut import = JoinSet::new();
    let told = Arc::clone(&progress);
    import.spawn(async move { service.import_image(request, &told).await });
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watched = Watched { progress, seen: Seen::default(), import, ticks, outcome: None };
    let lines = stream::unfold(watched, |mut watched| async move {
        let line = watched.next_line().await?;
        Some((Ok::<_, Infallible>(line), watched))
    });
    ([(header::CONTENT_TYPE, LINES)], AnswerBody::from_stream(lines)).into_response()
}

impl Watched {
    /// The next line; nothing after the last.
    async fn next_line(&mut self) -> Option<Bytes> {
        while self.outcome.is_none() {
            tokio::select! {
                ended = self.import.join_next() => self.outcome = Some(outcome(ended?)),
                _ = self.ticks.tick() => {
                    if let Some(line) = self.progress_line() {
                        return Some(line);
                    }
                }
            }
        }
        // What it came to before it ended stands before the end.
        if let Some(line) = self.progress_line() {
            return Some(line);
        }
        line(&match self.outcome.take()? {
            Ok(image) => ImportEvent::Imported { object: Box::new(image) },
            Err(error) => ImportEvent::Failed { status: error.status().as_u16(), error: error.detail() },
        })
    }

    fn progress_line(&mut self) -> Option<Bytes> {
        let items = self.progress.since(&mut self.seen);
        if items.is_empty() { None } else { line(&ImportEvent::Progress { items }) }
    }
}

fn outcome(ended: Result<Result<Image, ServiceError>, tokio::task::JoinError>) -> Result<Image, ApiError> {
    match ended {
        Ok(imported) => imported.map_err(ApiError::from),
        Err(error) => {
            let message = format!("The import broke off: {error}");
            Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "host", message))
        }
    }
}

fn line(event: &ImportEvent) -> Option<Bytes> {
    let mut bytes = serde_json::to_vec(event).ok()?;
    bytes.push(b'\n');
    Some(bytes.into())
}
