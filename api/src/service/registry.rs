//! Images of registries: pulled into a store of the daemon's, in which they share their layers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bulkhead_image::http::HttpOptions;
use bulkhead_image::progress::Progress;
use bulkhead_image::registry::{
    Credentials, CredentialsError, Keychain, Mirror, Registry, RegistryError, RegistryOptions,
};
use bulkhead_image::store::{Lease, Store, StoreError, StoredImage};
use bulkhead_image::{Cancellation, Reference};

use super::Service;
use super::error::ServiceError;
use super::model::{Image, RegistryCredentials};

/// How long what an interrupted pull or import left is kept for the next try.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// What starts a source in a registry.
pub(super) const DOCKER: &str = "docker://";

/// How registries are spoken to.
#[derive(Debug, Clone, Default)]
pub struct RegistryConfig {
    /// Hosts with their ports that are spoken to in plain HTTP.
    pub insecure: Vec<String>,
    /// Who is asked before a registry.
    pub mirrors: Vec<Mirror>,
    /// Files of PEM certificates that are trusted besides the system's.
    pub ca: Vec<PathBuf>,
}

/// What a pull works with.
pub(super) struct PullTask<'p> {
    /// The folder of the store.
    pub store: &'p Path,
    /// Its end before its time.
    pub cancellation: &'p Cancellation,
    /// Who is told how far it is.
    pub progress: &'p dyn Progress,
}

impl RegistryConfig {
    fn registry(&self, credentials: Option<Credentials>) -> Result<Registry, RegistryError> {
        Registry::new(RegistryOptions {
            http: HttpOptions { ca: self.ca.clone(), ..HttpOptions::default() },
            plain_http: false,
            insecure: self.insecure.clone(),
            mirrors: self.mirrors.clone(),
            // The daemon's own files are its owner's business and none of who asks.
            keychain: credentials.map_or(Keychain::None, Keychain::Given),
        })
    }

    /// Pulls an image into a store. Blocks.
    pub(super) fn pull(
        &self,
        reference: &Reference,
        credentials: Option<RegistryCredentials>,
        task: &PullTask<'_>,
    ) -> Result<StoredImage, ServiceError> {
        let source_name = format!("{DOCKER}{reference}");
        let registry = self.registry(credentials.map(Credentials::try_from).transpose()?);
        let registry = registry.map_err(|error| StoreError::Pull(reference.to_string(), Box::new(error)));
        let pulled = registry.and_then(|registry| {
            Store::open(task.store)?.until(task.cancellation).pull(&registry, reference, task.progress)
        });
        pulled.map_err(|error| match &error {
            StoreError::Pull(_, cause) if matches!(**cause, RegistryError::NotFound { .. }) => {
                ServiceError::NoSource { source_name }
            }
            _ => ServiceError::Import { source_name, source: Box::new(error) },
        })
    }
}

impl TryFrom<RegistryCredentials> for Credentials {
    type Error = ServiceError;

    fn try_from(given: RegistryCredentials) -> Result<Self, ServiceError> {
        let invalid = |message: String| ServiceError::Invalid { field: "credentials", message };
        if !given.identity_token.is_empty() {
            return Ok(Self::IdentityToken(given.identity_token));
        }
        if given.username.contains(':') {
            return Err(invalid("a user's name has no colon".to_owned()));
        }
        let words = format!("{}:{}", given.username, given.password);
        words.parse().map_err(|error: CredentialsError| invalid(error.to_string()))
    }
}

impl Service {
    /// Holds off whoever would remove what was pulled, until an image is made of it.
    pub(super) fn blob_lease(&self) -> Result<Lease, ServiceError> {
        let lease = Store::open(&self.layout.blobs()).and_then(|store| store.lease());
        lease.map_err(|error| ServiceError::Import {
            source_name: "docker://".into(),
            source: Box::new(error),
        })
    }

    /// Removes what was pulled for images that are no more, but for what others have too. While somebody pulls
    /// nothing is removed: the next time it is.
    pub(super) async fn sweep_blobs(&self) -> Result<(), ServiceError> {
        let images = self.records.list::<Image>().await?.items;
        let path = self.layout.blobs();
        let swept = tokio::task::spawn_blocking(move || {
            let has = |reference: &str| {
                images.iter().any(|image| image.spec.source.strip_prefix(DOCKER) == Some(reference))
            };
            if path.exists() { Store::open(&path)?.retain(has, PATIENCE).map(drop) } else { Ok(()) }
        });
        let failed = match swept.await {
            Ok(Ok(()) | Err(StoreError::InUse(_))) => None,
            Ok(Err(error)) => Some(super::chain(&error)),
            Err(error) => Some(super::chain(&error)),
        };
        if let Some(failed) = failed {
            tracing::warn!("{failed}");
        }
        Ok(())
    }
}
