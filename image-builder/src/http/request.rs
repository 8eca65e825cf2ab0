//! What is asked.

use std::fmt;
use std::io::Read;

use ureq::http;
use ureq::http::header::{AUTHORIZATION, HeaderValue};

use super::{HttpError, redirect};

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The head of a response alone.
    Head,
    /// A document or a file.
    Get,
    /// Begins something.
    Post,
    /// A piece of something that was begun.
    Patch,
    /// Stores something.
    Put,
}

impl Method {
    /// Whether it changes nothing, so that it may be done again elsewhere.
    pub fn is_safe(self) -> bool {
        matches!(self, Self::Head | Self::Get)
    }

    fn as_http(self) -> http::Method {
        match self {
            Self::Head => http::Method::HEAD,
            Self::Get => http::Method::GET,
            Self::Post => http::Method::POST,
            Self::Patch => http::Method::PATCH,
            Self::Put => http::Method::PUT,
        }
    }
}

/// The value of an `Authorization` header. It is told to nobody but its server.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorization(String);

impl Authorization {
    /// A header's value, such as `Bearer TOKEN`.
    pub fn new(value: String) -> Self {
        Self(value)
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Authorization(secret)")
    }
}

/// What goes along with a request.
pub enum Body<'b> {
    /// Nothing.
    None,
    /// These bytes.
    Bytes(&'b [u8]),
    /// As many bytes as the number says.
    Reader(&'b mut dyn Read, u64),
}

/// A request.
pub struct Request<'b> {
    pub(super) method: Method,
    pub(super) address: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) authorization: Option<Authorization>,
    pub(super) body: Body<'b>,
    pub(super) plain_http: bool,
}

impl<'b> Request<'b> {
    /// A request over HTTPS, without credentials or a body.
    pub fn new(method: Method, address: impl Into<String>) -> Self {
        let address: String = address.into();
        Self {
            method,
            address,
            headers: Vec::new(),
            authorization: None,
            body: Body::None,
            plain_http: false,
        }
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// With credentials for the address' own scheme, host and port.
    #[must_use]
    pub fn authorization(mut self, authorization: Option<Authorization>) -> Self {
        self.authorization = authorization;
        self
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, body: Body<'b>) -> Self {
        match &body {
            Body::None => {}
            Body::Bytes(bytes) => self.headers.push(("content-length", bytes.len().to_string())),
            Body::Reader(_, size) => self.headers.push(("content-length", size.to_string())),
        }
        self.body = body;
        self
    }

    /// Plain HTTP may be spoken, to whomever this leads.
    #[must_use]
    pub fn plain_http(mut self, allowed: bool) -> Self {
        self.plain_http = allowed;
        self
    }
}

/// The head of a request to `address`.
pub(super) fn head(
    method: Method,
    address: &http::Uri,
    headers: &[(&'static str, String)],
    authorization: Option<&Authorization>,
) -> Result<http::Request<()>, HttpError> {
    let unsendable = || HttpError::Header(redirect::name(address));
    let mut head = http::Request::builder().method(method.as_http()).uri(address);
    for (name, value) in headers {
        head = head.header(*name, HeaderValue::from_str(value).map_err(|_| unsendable())?);
    }
    if let Some(Authorization(value)) = authorization {
        let mut value = HeaderValue::from_str(value).map_err(|_| unsendable())?;
        value.set_sensitive(true);
        head = head.header(AUTHORIZATION, value);
    }
    head.body(()).map_err(|_| unsendable())
}
