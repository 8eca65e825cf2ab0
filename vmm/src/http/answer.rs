//! Answers as Firecracker gives them.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue, SERVER};
use hyper::{Response, StatusCode};
use serde::Serialize;

use crate::machine::ControlError;

/// The type of Prometheus's text format.
pub(super) const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The body of a fault.
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = Error))]
pub(super) struct Fault {
    #[cfg_attr(feature = "openapi", schema(required = false))]
    fault_message: String,
}

/// What an endpoint answers.
#[derive(Debug, Clone)]
pub enum Answer {
    /// 204: done.
    Done,
    /// 200 with a body.
    Json(String),
    /// 200 with figures in Prometheus's text format.
    Figures(String),
    /// 400 or another fault with its sentence.
    Fault(StatusCode, String),
}

impl Answer {
    /// 200 with `value` as the body.
    pub fn json(value: &impl Serialize) -> Self {
        match serde_json::to_string(value) {
            Ok(text) => Self::Json(text),
            Err(error) => Self::Fault(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }

    /// 400.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::Fault(StatusCode::BAD_REQUEST, message.into())
    }

    /// 204, or why not.
    pub fn of(result: Result<(), ControlError>) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(error) => Self::refused(crate::chain(&error)),
        }
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Done => StatusCode::NO_CONTENT,
            Self::Json(_) | Self::Figures(_) => StatusCode::OK,
            Self::Fault(status, _) => *status,
        }
    }

    /// The sentence, where it is a fault.
    pub fn fault(&self) -> Option<&str> {
        match self {
            Self::Fault(_, message) => Some(message),
            _ => None,
        }
    }

    /// The response as it goes out; `deprecated` tells the client that it used something old.
    pub fn render(self, deprecated: bool) -> Response<Full<Bytes>> {
        let status = self.status();
        let content = match self {
            Self::Figures(_) => PROMETHEUS,
            _ => "application/json",
        };
        let body = match self {
            Self::Done => String::new(),
            Self::Json(text) | Self::Figures(text) => text,
            Self::Fault(_, fault_message) => {
                serde_json::to_string(&Fault { fault_message }).unwrap_or_default()
            }
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(SERVER, HeaderValue::from_static("Bulkhead API"));
        if deprecated {
            headers.insert("deprecation", HeaderValue::from_static("true"));
        }
        if status != StatusCode::NO_CONTENT {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content));
        }
        response
    }
}
