//! An exchange with one registry, or a mirror, about one repository.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;

use super::challenge::challenges;
use super::endpoint::Endpoint;
use super::token::{self, TokenRequest};
use super::{Access, Credentials, Keychain, RegistryError, keychain};
use crate::digest::Sha256;
use crate::http::{Authorization, Client, Method, Origin, Part, Request, Response};
use crate::oci::OciError;
use crate::oci::media_types::{INDEX_TYPES, MANIFEST_TYPES};
use crate::reference::Reference;

/// Bytes of what a registry says about an error.
const MAX_COMPLAINT: u64 = 64 << 10;

/// Knows where a repository is and how to get in. May be shared by threads.
#[derive(Debug)]
pub struct Session<'r> {
    pub(super) client: &'r Client,
    pub(super) endpoint: Endpoint,
    pub(super) repository: String,
    scope: String,
    /// A repository of the same registry that may have what is sent.
    pub(super) mount_from: Option<String>,
    credentials: Option<Credentials>,
    /// What the registry took last.
    authorization: Mutex<Option<Authorization>>,
}

/// A manifest or an index, held against its digest but not looked into.
#[derive(Debug)]
pub struct FetchedManifest {
    /// The document.
    pub bytes: Vec<u8>,
    /// The digits of its SHA-256.
    pub digest: String,
    /// What the registry says that it is.
    pub media_type: Option<String>,
}

impl<'r> Session<'r> {
    pub(super) fn new(
        client: &'r Client,
        endpoint: Endpoint,
        reference: &Reference,
        access: Access,
        keychain: &Keychain,
    ) -> Result<Self, RegistryError> {
        let repository = reference.repository().to_owned();
        let credentials = match keychain {
            Keychain::None => None,
            Keychain::Given(credentials) => Some(credentials.clone()),
            Keychain::Stored => keychain::stored_credentials(&endpoint.host, &repository)?,
        };
        let actions = if access == Access::Push { "pull,push" } else { "pull" };
        let scope = format!("repository:{repository}:{actions}");
        let authorization = Mutex::new(None);
        Ok(Self { client, endpoint, repository, scope, mount_from: None, credentials, authorization })
    }

    /// Lets the registry take blobs from where it has them already, if this is another repository of its own.
    #[must_use]
    pub fn taking_from(mut self, other: Option<&Reference>) -> Self {
        let other =
            other.filter(|other| other.registry() == self.host() && other.repository() != self.repository);
        if let Some(other) = other {
            self.scope = format!("{} repository:{}:pull", self.scope, other.repository());
            self.mount_from = Some(other.repository().to_owned());
        }
        self
    }

    /// Who is spoken to.
    pub fn host(&self) -> &str {
        &self.endpoint.host
    }

    /// Fetches a manifest or an index by its tag or `sha256:DIGITS`, of at most `limit` bytes.
    pub fn manifest(&self, name: &str, limit: u64) -> Result<FetchedManifest, RegistryError> {
        let what = format!("manifest {}:{name}", self.repository);
        let address = self.address(&format!("manifests/{name}"));
        let accept = [INDEX_TYPES, MANIFEST_TYPES].concat().join(", ");
        let response = self.ask(|| Request::new(Method::Get, &address).header("accept", &accept))?;
        let response = self.judged(response, &[200], &what)?;
        let media_type = response
            .header("content-type")
            .map(|kind| kind.split(';').next().unwrap_or(kind).trim().to_owned());
        let promised = response.header("docker-content-digest").map(str::to_owned);
        let bytes = response.document(limit)?;
        let digest = hex::encode(Sha256::digest(&bytes));
        let wanted = name.strip_prefix("sha256:");
        let promised = promised.as_deref().and_then(|promised| promised.strip_prefix("sha256:"));
        match wanted.or(promised).is_none_or(|wanted| wanted == digest) {
            true => Ok(FetchedManifest { bytes, digest, media_type }),
            false => Err(OciError::Mismatch(what, "digest").into()),
        }
    }

    /// Asks for a blob from byte `from` on.
    pub fn blob(&self, digest: &str, from: u64) -> Result<Part, RegistryError> {
        let address = self.address(&format!("blobs/sha256:{digest}"));
        let response = self.ask(|| Request::new(Method::Get, &address).rest_from(from, None))?;
        let response = self.judged(response, &[200, 206, 416], &format!("blob sha256:{digest}"))?;
        Ok(Part::of(response, from)?)
    }

    /// The address of something in the repository.
    pub(super) fn address(&self, what: &str) -> String {
        format!("{}/v2/{}/{what}", self.endpoint.base, self.repository)
    }

    /// Asks, and asks again with what the registry wants to see if it wants anything. The question has no body, or
    /// one that can be sent twice.
    pub(super) fn ask<'b>(&self, question: impl Fn() -> Request<'b>) -> Result<Response, RegistryError> {
        let response = self.send(question())?;
        // Whoever else answers, after a redirect, has no business with our credentials.
        if response.status() != 401 || response.origin() != Origin::parse(&self.endpoint.base)? {
            return Ok(response);
        }
        let request = TokenRequest {
            registry: self.host(),
            plain_http: self.endpoint.plain_http,
            scope: &self.scope,
            credentials: self.credentials.as_ref(),
        };
        let answer =
            token::answer(self.client, &challenges(&response.headers("www-authenticate")), &request)?;
        match answer {
            Some(answer) => *self.authorization() = Some(answer),
            None => return Ok(response),
        }
        self.send(question())
    }

    /// Asks once, with what the registry took last.
    pub(super) fn send(&self, request: Request<'_>) -> Result<Response, RegistryError> {
        let authorization = self.authorization().clone();
        Ok(self.client.send(request.plain_http(self.endpoint.plain_http).authorization(authorization))?)
    }

    /// Asks once, as anybody may.
    pub(super) fn send_plainly(&self, request: Request<'_>) -> Result<Response, RegistryError> {
        Ok(self.client.send(request.plain_http(self.endpoint.plain_http))?)
    }

    fn authorization(&self) -> MutexGuard<'_, Option<Authorization>> {
        self.authorization.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The response, if its status is one of these; else why not.
    pub(super) fn judged(
        &self,
        response: Response,
        statuses: &[u16],
        what: &str,
    ) -> Result<Response, RegistryError> {
        let status = response.status();
        if statuses.contains(&status) {
            return Ok(response);
        }
        let (registry, what) = (self.host().to_owned(), what.to_owned());
        let code = || complaint(response).map_or_else(String::new, |code| format!(", {code}"));
        Err(match status {
            404 => RegistryError::NotFound { registry, what },
            401 | 403 => RegistryError::Denied { registry, what, status, code: code() },
            _ => RegistryError::Failed { registry, what, status, code: code() },
        })
    }
}

#[derive(Deserialize)]
struct Complaints {
    errors: Vec<Complaint>,
}

#[derive(Deserialize)]
struct Complaint {
    code: String,
}

/// The code of the first error that a registry tells (distribution specification, "error codes"). Its sentences are
/// not told: they might repeat what was sent.
fn complaint(response: Response) -> Option<String> {
    let Complaints { errors } = serde_json::from_slice(&response.document(MAX_COMPLAINT).ok()?).ok()?;
    let code = errors.into_iter().next()?.code;
    (code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')).then_some(code)
}
