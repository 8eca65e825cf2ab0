//! `pull`, and what `run` does with an image that is not there.

use bulkhead_image::Reference;
use bulkhead_image::registry::{Credentials, stored_credentials};
use clap::{Args, ValueEnum};

use super::CliError;
use super::client::{Client, segment};
use super::image::DOCKER;
use super::output;
use crate::service::model::{Image, ImportImage, RegistryCredentials};

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PullPolicy {
    /// Where there is none of that name.
    Missing,
    /// Whenever it is run.
    Always,
    /// By `bulkhead pull` alone.
    Never,
}

/// Pull an image from a registry.
#[derive(Debug, Args)]
pub struct Pull {
    /// [REGISTRY/]REPOSITORY[:TAG][@sha256:DIGITS]
    reference: Reference,
    /// USER:PASSWORD for the registry, in place of what Docker's config.json and containers' auth.json have.
    #[arg(long, value_name = "USER:PASSWORD")]
    creds: Option<Credentials>,
}

impl Pull {
    /// Runs it.
    pub async fn execute(self, client: &Client) -> Result<u8, CliError> {
        let image = pull(client, &self.reference, self.creds).await?;
        output::line(&image.metadata.id)
    }
}

/// Has the daemon pull an image. Credentials are those of who asks, and go along with the question.
pub async fn pull(
    client: &Client,
    reference: &Reference,
    credentials: Option<Credentials>,
) -> Result<Image, CliError> {
    let credentials = match credentials {
        Some(credentials) => Some(credentials.into()),
        None => own_credentials(reference)?,
    };
    let body = ImportImage { source: format!("{DOCKER}{reference}"), name: None, credentials };
    client.post_body("/api/v1/images", &body).await
}

/// What whoever runs this has for the registry of a reference.
pub fn own_credentials(reference: &Reference) -> Result<Option<RegistryCredentials>, CliError> {
    let found = stored_credentials(reference.registry(), reference.repository());
    let failed = |source| CliError::Credentials { registry: reference.registry().to_owned(), source };
    Ok(found.map_err(failed)?.map(RegistryCredentials::from))
}

/// The name or the id of an image that is there, after a pull if the policy is for it.
pub async fn present(client: &Client, name: &str, policy: PullPolicy) -> Result<String, CliError> {
    let reference = name.parse::<Reference>().ok();
    if policy != PullPolicy::Always {
        // An image is called as people write it, and may be asked for by its whole reference.
        let familiar = reference.as_ref().map(Reference::familiar).filter(|familiar| familiar != name);
        for name in [Some(name.to_owned()), familiar].into_iter().flatten() {
            match client.get::<Image>(&format!("/api/v1/images/{}", segment(&name))).await {
                Ok(image) => return Ok(image.metadata.id),
                Err(CliError::Refused { status: 404, .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    match (reference, policy) {
        // The daemon says that it is not there.
        (None, _) | (_, PullPolicy::Never) => Ok(name.to_owned()),
        (Some(reference), _) => Ok(pull(client, &reference, None).await?.metadata.id),
    }
}

impl From<Credentials> for RegistryCredentials {
    fn from(credentials: Credentials) -> Self {
        match credentials {
            Credentials::Basic { user, password } => Self { username: user, password, ..Self::default() },
            Credentials::IdentityToken(identity_token) => Self { identity_token, ..Self::default() },
        }
    }
}
