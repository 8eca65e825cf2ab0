//! Bodies: read within limits, written whole or as a stream.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bulkhead_protocol::agent::{Fault, MAX_BODY};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

/// How long a request's body may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The body of an answer.
pub enum Answer {
    /// All of it, or what is left of it.
    Whole(Option<Bytes>),
    /// What comes through this channel, until it closes.
    Stream(mpsc::Receiver<Bytes>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(channel) => {
                channel.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// A request that is answered with an error.
#[derive(Debug)]
pub struct Refusal(pub StatusCode, pub String);

/// Reads a JSON body of at most [`MAX_BODY`] bytes.
pub async fn read<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Refusal> {
    let limited = Limited::new(request.into_body(), MAX_BODY);
    let body = tokio::time::timeout(PATIENCE, limited.collect()).await;
    let body = body
        .map_err(|_| Refusal(StatusCode::REQUEST_TIMEOUT, "Cannot read the body: it takes too long".into()))?
        .map_err(|error| {
            let status = if error.is::<http_body_util::LengthLimitError>() {
                StatusCode::PAYLOAD_TOO_LARGE
            } else {
                StatusCode::BAD_REQUEST
            };
            Refusal(status, format!("Cannot read the body of at most {MAX_BODY} bytes: {error}"))
        })?
        .to_bytes();
    serde_json::from_slice(&body)
        .map_err(|error| Refusal(StatusCode::BAD_REQUEST, format!("Cannot understand the body: {error}")))
}

/// An answer with a JSON body.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response<Answer> {
    match serde_json::to_vec(body) {
        Ok(text) => with_type(status, "application/json", Answer::Whole(Some(text.into()))),
        Err(_) => empty(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Response<Answer> {
    let mut response = Response::new(Answer::Whole(None));
    *response.status_mut() = status;
    response
}

/// An answer that goes on for as long as its channel.
pub fn stream(channel: mpsc::Receiver<Bytes>) -> Response<Answer> {
    with_type(StatusCode::OK, "application/vnd.bulkhead.log", Answer::Stream(channel))
}

/// The answer to a request that cannot be done.
pub fn refuse(Refusal(status, message): Refusal) -> Response<Answer> {
    json(status, &Fault { message, code: None })
}

fn with_type(status: StatusCode, kind: &'static str, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
