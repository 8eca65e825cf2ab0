//! Watches: changes as lines of JSON, for as long as the client reads.

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use utoipa::{IntoParams, ToSchema};

use super::Shared;
use super::error::ApiError;
use super::extract::some_number;
use crate::service::Records;
use crate::service::model::Resource;
use crate::store::{Change, ChangeKind, Watch};

/// The media type of a watch: one JSON document a line.
pub const LINES: &str = "application/jsonl";

/// How a collection is read.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Do not list: stream changes, one JSON document a line, until the client goes away.
    #[serde(default)]
    #[param(required = false)]
    pub watch: bool,
    /// With `watch`: the revision after which changes are wanted (a list's `metadata.resource_version`).
    /// Without it, changes from now on. 410 when they are no longer kept.
    #[serde(default, deserialize_with = "some_number")]
    #[param(required = false, nullable = false, minimum = 0, maximum = 9007199254740991_i64)]
    pub resource_version: Option<u64>,
}

/// A line of a watch.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WatchEvent<T> {
    /// What happened.
    #[serde(rename = "type")]
    pub kind: WatchEventKind,
    /// The resource after it; deleted, as it was last.
    pub object: T,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WatchEventKind {
    /// It is new.
    Added,
    /// It has changed.
    Modified,
    /// It is gone.
    Deleted,
}

impl From<ChangeKind> for WatchEventKind {
    fn from(kind: ChangeKind) -> Self {
        match kind {
            ChangeKind::Added => Self::Added,
            ChangeKind::Modified => Self::Modified,
            ChangeKind::Deleted => Self::Deleted,
        }
    }
}

fn line<T: Resource>(change: &Change) -> Option<Bytes> {
    let changed = Records::changed::<T>(change)?;
    let event = WatchEvent { kind: changed.kind.into(), object: changed.object };
    let mut bytes = serde_json::to_vec(&event).ok()?;
    bytes.push(b'\n');
    Some(bytes.into())
}

/// Streams the changes of a collection.
pub async fn stream_changes<T: Resource>(service: &Shared, since: Option<u64>) -> Result<Response, ApiError> {
    let Watch { past, live } = service.records().watch::<T>(since).await?;
    let past: Vec<Bytes> = past.iter().filter_map(line::<T>).collect();
    let lines = stream::unfold((past.into_iter(), live), |(mut past, mut live)| async move {
        if let Some(line) = past.next() {
            return Some((Ok::<_, std::convert::Infallible>(line), (past, live)));
        }
        loop {
            match live.recv().await {
                Ok(change) => {
                    if let Some(line) = line::<T>(&change) {
                        return Some((Ok(line), (past, live)));
                    }
                }
                // Who reads too slowly has missed changes: the end of the stream tells to list again.
                Err(RecvError::Lagged(_) | RecvError::Closed) => return None,
            }
        }
    });
    Ok(([(header::CONTENT_TYPE, LINES)], Body::from_stream(lines)).into_response())
}
