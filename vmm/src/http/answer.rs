//! Answers as Firecracker gives them.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue, SERVER};
use hyper::{Response, StatusCode};
use serde::Serialize;

use crate::machine::ControlError;

/// What an endpoint answers.
#[derive(Debug)]
pub enum Answer {
    /// 204: done.
    Done,
    /// 200 with a body.
    Json(String),
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

    /// The response as it goes out.
    pub fn render(self) -> Response<Full<Bytes>> {
        let (status, body) = match self {
            Self::Done => (StatusCode::NO_CONTENT, String::new()),
            Self::Json(text) => (StatusCode::OK, text),
            Self::Fault(status, message) => {
                (status, serde_json::json!({"fault_message": message}).to_string())
            }
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(SERVER, HeaderValue::from_static("Bulkhead API"));
        if status != StatusCode::NO_CONTENT {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        response
    }
}
