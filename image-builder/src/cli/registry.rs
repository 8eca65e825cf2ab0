//! What commands that speak to registries have in common.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use bulkhead_image::Reference;
use bulkhead_image::command_line::Bars;
use bulkhead_image::http::HttpOptions;
use bulkhead_image::registry::{Credentials, Keychain, Mirror, Registry, RegistryOptions};
use bulkhead_image::store::{Store, StoredImage};
use clap::Args;

#[derive(Debug, Args)]
#[command(next_help_heading = "Registries")]
pub struct RegistryFlags {
    /// Where images are kept [default: $BULKHEAD_STORE, /var/lib/bulkhead/store for root, ~/.local/share/bulkhead/store]
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Speak plain HTTP with the registry
    #[arg(long)]
    plain_http: bool,
    /// Trust these PEM certificates besides the system's
    #[arg(long, value_name = "FILE")]
    ca: Vec<PathBuf>,
    /// Ask this address first for what the registry HOST has
    #[arg(long = "mirror", value_name = "HOST=URL")]
    mirrors: Vec<Mirror>,
    /// In place of what Docker's config.json and containers' auth.json have
    #[arg(long, value_name = "USER:PASSWORD")]
    creds: Option<Credentials>,
    /// Give up a connection on which nothing happens for so long
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

impl RegistryFlags {
    /// The store.
    pub fn store(&self) -> Result<Store, Box<dyn Error>> {
        let path = self.store.clone().map_or_else(Store::default_path, Ok)?;
        Ok(Store::open(&path)?)
    }

    /// Who speaks to registries.
    pub fn registry(&self) -> Result<Registry, Box<dyn Error>> {
        let http = HttpOptions {
            ca: self.ca.clone(),
            silence: Duration::from_secs(self.timeout),
            ..HttpOptions::default()
        };
        Ok(Registry::new(RegistryOptions {
            http,
            plain_http: self.plain_http,
            insecure: Vec::new(),
            mirrors: self.mirrors.clone(),
            keychain: self.creds.clone().map_or(Keychain::Stored, Keychain::Given),
        })?)
    }

    /// Pulls an image into the store.
    pub fn pull(&self, reference: &Reference) -> Result<StoredImage, Box<dyn Error>> {
        Ok(self.store()?.pull(&self.registry()?, reference, &Bars::default())?)
    }
}
