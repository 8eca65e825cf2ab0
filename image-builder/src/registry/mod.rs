//! Registries (OCI distribution specification 1.1): manifests and blobs of a repository, fetched and sent.
//!
//! A registry, a mirror and a token server are hostile until a digest has been checked. Credentials go to the
//! registry they are for and to the realm that this registry names, over TLS unless plain HTTP was asked for; a
//! challenge of anybody else, such as of whom a registry redirects to, is not answered (CVE-2020-15157).

mod challenge;
mod credential_program;
mod credentials;
mod endpoint;
mod error;
mod keychain;
mod session;
mod token;
mod upload;

pub use credentials::Credentials;
pub use endpoint::Mirror;
pub use error::{CredentialsError, RegistryError};
#[cfg(feature = "fuzzing")]
pub(crate) use keychain::CredentialsFile;
pub use keychain::stored_credentials;
pub use session::{FetchedManifest, Session};

use crate::http::{Client, HttpOptions};
use crate::reference::Reference;

/// What is wanted of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To fetch.
    Pull,
    /// To send, and to ask what is there.
    Push,
}

/// Where credentials come from.
#[derive(Debug, Clone, Default)]
pub enum Keychain {
    /// Nowhere: everybody's access.
    #[default]
    None,
    /// The files of whoever runs this, and their helpers.
    Stored,
    /// These, for the registry that a reference names; a mirror gets none.
    Given(Credentials),
}

/// How registries are spoken to.
#[derive(Debug, Clone, Default)]
pub struct RegistryOptions {
    /// Time-outs and trusted certificates.
    pub http: HttpOptions,
    /// Speak plain HTTP with the registry that a reference names.
    pub plain_http: bool,
    /// Hosts with their ports that are spoken to in plain HTTP.
    pub insecure: Vec<String>,
    /// Who is asked first.
    pub mirrors: Vec<Mirror>,
    /// Who asks.
    pub keychain: Keychain,
}

/// Speaks to registries.
#[derive(Debug)]
pub struct Registry {
    client: Client,
    options: RegistryOptions,
}

impl Registry {
    /// With these options; fails where certificates cannot be read.
    pub fn new(options: RegistryOptions) -> Result<Self, RegistryError> {
        Ok(Self { client: Client::new(options.http.clone())?, options })
    }

    /// Those who can be asked for an image, in this order: mirrors, and last the registry itself.
    pub fn sources(&self, reference: &Reference) -> Result<Vec<Session<'_>>, RegistryError> {
        let mirrors = self.options.mirrors.iter().filter(|mirror| mirror.registry() == reference.registry());
        let mirrors = mirrors.map(|mirror| {
            let keychain = match &self.options.keychain {
                Keychain::Given(_) => &Keychain::None,
                keychain => keychain,
            };
            Session::new(&self.client, mirror.endpoint(), reference, Access::Pull, keychain)
        });
        mirrors.chain([self.session(reference, Access::Pull)]).collect()
    }

    /// The registry that a reference names.
    pub fn session(&self, reference: &Reference, access: Access) -> Result<Session<'_>, RegistryError> {
        let host = reference.registry();
        let plain = self.options.plain_http || self.options.insecure.iter().any(|insecure| insecure == host);
        let endpoint = endpoint::Endpoint::of_registry(host, plain);
        Session::new(&self.client, endpoint, reference, access, &self.options.keychain)
    }
}
