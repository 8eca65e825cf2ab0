//! Bodies and queries, strictly: known fields only, bounded in size and in time.

use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::error::ApiError;

/// The largest body.
const MAX_BODY: usize = 1 << 20;
/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(20);

/// A JSON body.
#[derive(Debug)]
pub struct Body<T>(pub T);

/// A JSON body, or none at all.
#[derive(Debug)]
pub struct OptionalBody<T>(pub T);

/// A query string.
#[derive(Debug)]
pub struct Params<T>(pub T);

/// The one variable segment of a path.
#[derive(Debug)]
pub struct Name(pub String);

/// The largest number that every reader of JSON keeps exactly (RFC 8259, 6).
const MAX_NUMBER: u64 = (1 << 53) - 1;

/// A number of at most 53 bits.
pub fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = u64::deserialize(deserializer)?;
    if number <= MAX_NUMBER {
        Ok(number)
    } else {
        Err(D::Error::custom(format!("{number} is above {MAX_NUMBER}")))
    }
}

/// A number of at most 53 bits that is given.
pub fn some_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    number(deserializer).map(Some)
}

async fn read(request: Request) -> Result<Vec<u8>, ApiError> {
    let late = || {
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "The body takes too long to arrive".to_owned())
    };
    let large = |_| {
        let message = format!("The body is longer than {MAX_BODY} bytes or broken off");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    };
    let read = axum::body::to_bytes(request.into_body(), MAX_BODY);
    let bytes = tokio::time::timeout(PATIENCE, read).await.map_err(|_| late())?.map_err(large)?;
    Ok(bytes.to_vec())
}

fn require_json(request: &Request) -> Result<(), ApiError> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if media.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let message = "The body's content type is not application/json".to_owned();
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type", message))
}

/// In JSON Schema 80.0 is an integer, and some clients write it so.
fn with_whole_numbers(value: Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 9e15 => {
                (float as i64).into()
            }
            _ => Value::Number(number),
        },
        Value::Array(items) => items.into_iter().map(with_whole_numbers).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (name, with_whole_numbers(value))).collect()
        }
        other => other,
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    match parse_strictly(bytes) {
        Err(error) if error.message().contains("floating point") => {
            let value: Value = parse_strictly(bytes)?;
            serde_json::from_value(with_whole_numbers(value)).map_err(|_| error)
        }
        other => other,
    }
}

fn parse_strictly<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let place = if path == "." { String::new() } else { format!(" at {path}") };
        ApiError::malformed(format!("The body cannot be understood{place}: {}", error.inner()))
    })?;
    reader.end().map_err(|error| ApiError::malformed(format!("The body goes on behind its end: {error}")))?;
    Ok(value)
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        require_json(&request)?;
        Ok(Self(parse(&read(request).await?)?))
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let has_kind = request.headers().contains_key(header::CONTENT_TYPE);
        if has_kind {
            require_json(&request)?;
        }
        let bytes = read(request).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        Ok(Self(parse::<Option<T>>(&bytes)?.unwrap_or_default()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(name)| Self(name)).map_err(|error| {
            ApiError::malformed(format!("The path cannot be understood: {}", error.body_text()))
        })
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let query = Query::<T>::try_from_uri(&parts.uri);
        query.map(|Query(value)| Self(value)).map_err(|error| {
            ApiError::malformed(format!("The query cannot be understood: {}", error.body_text()))
        })
    }
}
