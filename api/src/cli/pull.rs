//! `pull`, and what `run` does with an image that is not there.

use std::io::{IsTerminal, stderr};

use bulkhead_image::Reference;
use bulkhead_image::command_line::Bars;
use bulkhead_image::progress::Progress;
use bulkhead_image::registry::{Credentials, stored_credentials};
use clap::{Args, ValueEnum};

use super::CliError;
use super::client::{Client, Lines, segment};
use super::image::DOCKER;
use super::output;
use crate::routes::ImportEvent;
use crate::service::model::{Image, ImportImage, ProgressItem, RegistryCredentials};

/// Where images are.
const IMAGES: &str = "/api/v1/images";

/// How a command prints the one image that it made.
#[derive(Debug, Clone, Copy, Args)]
pub struct JsonArgument {
    /// Print the image as JSON.
    #[arg(long)]
    json: bool,
}

impl JsonArgument {
    /// Prints its id, or all of it.
    pub fn image(self, image: &Image) -> Result<u8, CliError> {
        if self.json { output::json(image) } else { output::line(&image.metadata.id) }
    }
}

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
    #[command(flatten)]
    format: JsonArgument,
}

impl Pull {
    /// Runs it.
    pub async fn execute(self, client: &Client) -> Result<u8, CliError> {
        let image = pull(client, &self.reference, self.creds).await?;
        self.format.image(&image)
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
    import(client, &body).await
}

/// Has the daemon make an image, and shows how far it is where standard error is a terminal.
pub async fn import(client: &Client, body: &ImportImage) -> Result<Image, CliError> {
    if !stderr().is_terminal() {
        return client.post_body(IMAGES, body).await;
    }
    let call = format!("{IMAGES}?progress=true");
    let mut lines = Lines::new(client.stream_body(&call, body).await?);
    let bars = Bars::default();
    while let Some(event) = lines.next_line::<ImportEvent>().await? {
        match event {
            ImportEvent::Progress { items } => items.iter().for_each(|item| show(&bars, item)),
            ImportEvent::Imported { object } => return Ok(*object),
            ImportEvent::Failed { status, error } => {
                return Err(CliError::Refused { status, word: error.code, message: error.message });
            }
        }
    }
    Err(CliError::Broken { call, source: "its answer breaks off".into() })
}

fn show(bars: &Bars, item: &ProgressItem) {
    bars.show(&item.name, item.size, item.current);
    if let Some(outcome) = item.outcome {
        bars.end(&item.name, outcome.into());
    }
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
