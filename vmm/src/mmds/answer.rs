//! What a guest's request gets, by Firecracker's rules (its MMDS user guide).

use std::time::Instant;

use super::Mmds;
use super::request::{Method, Request};
use super::store::{Format, Missing};
use super::token::TTL;
use crate::config::{MmdsConfig, MmdsVersion};

/// Where tokens are had.
const TOKEN_PATH: [&str; 3] = ["latest", "api", "token"];
const NO_TOKEN: &str =
    "No MMDS token provided. Send one as `X-metadata-token` or `X-aws-ec2-metadata-token`.";
const NO_TTL: &str = "Token time to live value not found. Send it in seconds as `X-metadata-token-ttl-seconds` or \
                      `X-aws-ec2-metadata-token-ttl-seconds`.";

/// An answer's status and its words (RFC 9110 section 15).
type Status = &'static str;
const OK: Status = "200 OK";
const BAD_REQUEST: Status = "400 Bad Request";
const UNAUTHORIZED: Status = "401 Unauthorized";
const NOT_FOUND: Status = "404 Not Found";
const NOT_ALLOWED: Status = "405 Method Not Allowed";
const FAILED: Status = "500 Internal Server Error";
const NOT_IMPLEMENTED: Status = "501 Not Implemented";

/// What a guest gets.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    status: Status,
    json: bool,
    /// A header of its own.
    header: Option<(String, String)>,
    body: String,
}

impl Answer {
    fn text(status: Status, body: impl Into<String>) -> Answer {
        Answer { status, json: false, header: None, body: body.into() }
    }

    /// For what is no request.
    pub fn bad_request(reason: &str) -> Answer {
        Answer::text(BAD_REQUEST, reason)
    }

    /// As it goes over the wire.
    pub fn render(&self, close: bool) -> Vec<u8> {
        let kind = if self.json { "application/json" } else { "text/plain" };
        let connection = if close { "close" } else { "keep-alive" };
        let header = self.header.as_ref().map(|(name, value)| format!("{name}: {value}\r\n"));
        format!(
            "HTTP/1.1 {}\r\nServer: Bulkhead MMDS\r\nConnection: {connection}\r\nContent-Type: {kind}\r\n{}\
             Content-Length: {}\r\n\r\n{}",
            self.status,
            header.unwrap_or_default(),
            self.body.len(),
            self.body
        )
        .into_bytes()
    }
}

impl Mmds {
    /// Answers a guest that asks at `now` by the rules of `config`.
    pub(super) fn answer(&self, config: &MmdsConfig, request: &Request, now: Instant) -> Answer {
        match request.method {
            Method::Get => self.answer_get(config, request, now),
            Method::Put => self.answer_put(request, now),
            Method::Other => {
                let allow = Some(("Allow".into(), "GET, PUT".into()));
                Answer { header: allow, ..Answer::text(NOT_ALLOWED, "Not allowed HTTP method.") }
            }
        }
    }

    fn answer_get(&self, config: &MmdsConfig, request: &Request, now: Instant) -> Answer {
        let contents = self.contents();
        let refusal = match &request.token {
            None => {
                self.metrics.rx_no_token.increment();
                Some(NO_TOKEN)
            }
            Some(token) if !contents.tokens.check(token, now) => {
                self.metrics.rx_invalid_token.increment();
                Some("MMDS token not valid.")
            }
            Some(_) => None,
        };
        // The first version counts, so that users see whether they could go over to the second.
        if let (Some(refusal), MmdsVersion::V2) = (refusal, config.version) {
            return Answer::text(UNAUTHORIZED, refusal);
        }
        let json = request.json && !config.imds_compat;
        let format = if json { Format::Json } else { Format::Imds };
        match contents.store.find(&request.path, format) {
            Ok(body) => Answer { json, ..Answer::text(OK, body) },
            Err(Missing::Path) => Answer::text(NOT_FOUND, format!("Resource not found: {}.", request.path)),
            Err(Missing::Form) => {
                Answer::text(NOT_IMPLEMENTED, "Cannot retrieve value. The value has an unsupported type.")
            }
        }
    }

    fn answer_put(&self, request: &Request, now: Instant) -> Answer {
        // What a proxy lets through may come from anywhere.
        if request.forwarded {
            return Answer::bad_request("Invalid header: X-Forwarded-For.");
        }
        if !request.path.split('/').filter(|name| !name.is_empty()).eq(TOKEN_PATH) {
            return Answer::text(NOT_FOUND, format!("Resource not found: {}.", request.path));
        }
        let Some((name, value)) = &request.ttl else { return Answer::bad_request(NO_TTL) };
        // Digits alone: `parse` would take a sign too.
        let digits = value.bytes().all(|byte| byte.is_ascii_digit());
        let ttl = value.parse().ok().filter(|ttl| digits && TTL.contains(ttl));
        let Some(ttl) = ttl else {
            let (first, last) = (TTL.start(), TTL.end());
            return Answer::bad_request(&format!(
                "Invalid time to live value provided for token: {value:?}. It is {first} to {last} seconds."
            ));
        };
        match self.contents().tokens.issue(ttl, now) {
            Some(token) => {
                let header = Some((name.clone(), ttl.to_string()));
                Answer { header, ..Answer::text(OK, token) }
            }
            None => Answer::text(FAILED, "The host has no random bytes."),
        }
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
