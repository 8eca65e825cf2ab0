//! Errors as clients see them: a status and `{"error": {"code", "message"}}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::host::HostError;
use crate::service::ServiceError;
use crate::store::StoreError;

/// The word for a program that is not there.
pub const NOT_FOUND: &str = "program_not_found";
/// The word for a program that cannot be run.
pub const NOT_EXECUTABLE: &str = "program_not_executable";

/// The body of every error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorDetail {
    /// A word for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

/// An error on its way to a client.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl ApiError {
    /// With this status, word and sentence.
    pub fn new(status: StatusCode, code: &'static str, message: String) -> Self {
        Self { status, code, message }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What a body says of it. What is the host's fault is logged.
    pub fn detail(self) -> ErrorDetail {
        if self.status.is_server_error() {
            tracing::error!("{}", self.message);
        }
        ErrorDetail { code: self.code.to_owned(), message: self.message }
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// A body, a query or a path that cannot be understood.
    pub fn malformed(message: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", message)
    }
}

impl From<ServiceError> for ApiError {
    fn from(error: ServiceError) -> Self {
        let (status, code) = match &error {
            ServiceError::NotFound { .. } | ServiceError::NoSource { .. } => {
                (StatusCode::NOT_FOUND, "not_found")
            }
            ServiceError::Ambiguous { .. } => (StatusCode::CONFLICT, "ambiguous"),
            ServiceError::Exists { .. } => (StatusCode::CONFLICT, "exists"),
            ServiceError::Conflict { .. } | ServiceError::Cancelled { .. } => {
                (StatusCode::CONFLICT, "conflict")
            }
            ServiceError::Host(HostError::RangeTaken { .. } | HostError::RangeFull { .. }) => {
                (StatusCode::CONFLICT, "address_range")
            }
            ServiceError::Store(StoreError::Compacted { .. }) => (StatusCode::GONE, "compacted"),
            ServiceError::Invalid { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
            ServiceError::Import { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "import"),
            ServiceError::Program { code: 127, .. } => (StatusCode::UNPROCESSABLE_ENTITY, NOT_FOUND),
            ServiceError::Program { .. } => (StatusCode::UNPROCESSABLE_ENTITY, NOT_EXECUTABLE),
            ServiceError::Guest { .. } | ServiceError::EndedEarly { .. } | ServiceError::Silent { .. } => {
                (StatusCode::CONFLICT, "guest")
            }
            ServiceError::Host(_) => (StatusCode::INTERNAL_SERVER_ERROR, "host"),
            ServiceError::Store(_) | ServiceError::Record { .. } => {
                (StatusCode::INTERNAL_SERVER_ERROR, "store")
            }
        };
        Self::new(status, code, error.chain())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(ErrorBody { error: self.detail() })).into_response()
    }
}
