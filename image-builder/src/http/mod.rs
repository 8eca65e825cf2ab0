//! A client of HTTP/1.1 and HTTPS for what images are fetched from and sent to, all of whom may be hostile: every
//! wait has an end, every body and header a limit, and credentials reach nobody but whom they are meant for.
//!
//! It blocks its caller. Plain HTTP is spoken where a request allows it and nowhere else.

mod range;
mod redirect;
mod request;
mod response;

use std::path::PathBuf;
use std::time::Duration;
use std::{fs, io};

use thiserror::Error;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};
use ureq::{Agent, SendBody};

pub use range::Part;
pub use redirect::{Origin, resolved};
pub use request::{Authorization, Body, Method, Request};
pub use response::Response;

/// How many redirects are followed.
const MAX_REDIRECTS: usize = 5;

/// Bytes of the status line and all headers of a response.
const MAX_HEADERS: usize = 64 << 10;

/// Bytes of a file of certificates.
const MAX_CERTIFICATES: u64 = 4 << 20;

/// How long a client waits, and whom it trusts.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Files of PEM certificates that are trusted besides the system's.
    pub ca: Vec<PathBuf>,
    /// Until a name is resolved and a connection is there, each.
    pub connect: Duration,
    /// While nothing arrives, or nothing can be sent.
    pub silence: Duration,
    /// Until the head of a response is complete, and for the whole of a document.
    pub response: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            ca: Vec::new(),
            connect: Duration::from_secs(20),
            silence: Duration::from_secs(30),
            response: Duration::from_secs(120),
        }
    }
}

/// Why something cannot be fetched or sent. Addresses are told without their query, which may be a secret.
#[derive(Debug, Error)]
pub enum HttpError {
    /// A file of certificates.
    #[error("Cannot read the certificates in {0}")]
    Certificates(PathBuf, #[source] io::Error),
    /// A file that should hold certificates.
    #[error("{0} holds no PEM certificate that can be understood")]
    NoCertificate(PathBuf),
    /// An address that is none, or of another kind.
    #[error("The address {0:?} is not one of http or https, or names no host, or names a user")]
    Address(String),
    /// Plain HTTP.
    #[error("{0} would be asked without encryption, which was not allowed")]
    PlainHttp(String),
    /// No answer.
    #[error("No answer from {0}")]
    NoAnswer(String, #[source] Box<ureq::Error>),
    /// A response that leads astray.
    #[error("{0} redirects {1}")]
    Redirect(String, &'static str),
    /// A status that says no.
    #[error("{0} answers with the status {1}")]
    Status(String, u16),
    /// A header of a request that cannot be sent.
    #[error("A header for {0} holds characters that cannot be sent")]
    Header(String),
    /// The body of a response breaks off, or stays away.
    #[error("The answer of {0} cannot be read to its end")]
    Body(String, #[source] io::Error),
    /// A body over the limit.
    #[error("The answer of {0} is larger than {1} bytes")]
    Large(String, u64),
    /// An answer that comes too slowly.
    #[error("The answer of {0} takes longer than {1} s")]
    Slow(String, u64),
    /// Where a body is written to.
    #[error("Cannot write what {0} answers")]
    Write(String, #[source] io::Error),
    /// Another piece than the one that was asked for.
    #[error("{0} answers with another piece than the one asked for: {1}")]
    Piece(String, &'static str),
}

/// A client. It keeps connections for its next request, and may be shared by threads.
#[derive(Debug, Clone)]
pub struct Client {
    agent: Agent,
    options: HttpOptions,
}

impl Client {
    /// A client that trusts the system's certificates and those in `options`.
    pub fn new(options: HttpOptions) -> Result<Self, HttpError> {
        let mut roots = system_certificates();
        for path in &options.ca {
            roots.extend(certificates(path)?);
        }
        let tls = TlsConfig::builder().root_certs(RootCerts::from(roots)).build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            // Redirects are followed here, where it is known whom credentials are for.
            .max_redirects(0)
            .max_response_header_size(MAX_HEADERS)
            .user_agent(concat!("bulkhead/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(options.connect))
            .timeout_connect(Some(options.connect))
            .timeout_per_read(Some(options.silence))
            .timeout_per_write(Some(options.silence))
            .timeout_recv_response(Some(options.response))
            .build();
        Ok(Self { agent: Agent::new_with_config(config), options })
    }

    /// Sends a request and returns the head of its response, whatever its status. Redirects of requests without
    /// effect are followed; the credentials stay with the origin that they were given for.
    pub fn send(&self, request: Request<'_>) -> Result<Response, HttpError> {
        let mut address = redirect::parsed(&request.address)?;
        let first = Origin::of(&address);
        let Request { method, headers, authorization, mut body, plain_http, .. } = request;
        for _ in 0..=MAX_REDIRECTS {
            let name = redirect::name(&address);
            if !plain_http && address.scheme_str() != Some("https") {
                return Err(HttpError::PlainHttp(name));
            }
            let authorization = authorization.as_ref().filter(|_| Origin::of(&address) == first);
            let head = request::head(method, &address, &headers, authorization)?;
            let answer = match &mut body {
                Body::None => self.agent.run(head.map(|()| SendBody::none())),
                Body::Bytes(bytes) => self.agent.run(head.map(|()| *bytes)),
                Body::Reader(reader, _) => self.agent.run(head.map(|()| SendBody::from_reader(reader))),
            };
            let answer = answer.map_err(|error| HttpError::NoAnswer(name.clone(), Box::new(error)))?;
            let response = Response::new(address.clone(), answer, &self.options);
            if !matches!(response.status(), 301 | 302 | 303 | 307 | 308) || !method.is_safe() {
                return Ok(response);
            }
            address = redirect::follow(&address, response.header("location"))?;
        }
        Err(HttpError::Redirect(redirect::name(&address), "too often"))
    }
}

fn system_certificates() -> Vec<Certificate<'static>> {
    // Where some cannot be read, the others may do; where none can, the connection says so.
    let found = rustls_native_certs::load_native_certs().certs;
    found.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect()
}

fn certificates(path: &PathBuf) -> Result<Vec<Certificate<'static>>, HttpError> {
    let failed = |error| HttpError::Certificates(path.clone(), error);
    if fs::metadata(path).map_err(failed)?.len() > MAX_CERTIFICATES {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    let bytes = fs::read(path).map_err(failed)?;
    let items: Result<Vec<_>, _> = ureq::tls::parse_pem(&bytes).collect();
    let items = items.map_err(|_| HttpError::NoCertificate(path.clone()))?;
    let certificates: Vec<_> = items
        .into_iter()
        .filter_map(|item| match item {
            PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        })
        .collect();
    match certificates.is_empty() {
        true => Err(HttpError::NoCertificate(path.clone())),
        false => Ok(certificates),
    }
}
