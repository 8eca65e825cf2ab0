//! `bulkhead-image pull`: from a registry to the store.

use std::path::PathBuf;

use bulkhead_image::command_line::Bars;
use bulkhead_image::{Reference, artifact};
use clap::Args;

use super::registry::RegistryFlags;
use super::{Outcome, output};

#[derive(Debug, Args)]
pub struct Pull {
    /// [REGISTRY/]REPOSITORY[:TAG][@sha256:DIGITS], as Docker understands it
    reference: Reference,
    /// The artifact of a built image, to be written to this file
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryFlags,
}

impl Pull {
    pub fn execute(&self, json: bool) -> Outcome {
        let image = match &self.output {
            None => self.registry.pull(&self.reference)?,
            Some(file) => {
                let store = self.registry.store()?;
                let image =
                    store.pull_artifact(&self.registry.registry()?, &self.reference, &Bars::default())?;
                artifact::unpack(&store, &image, file)?;
                image
            }
        };
        if json {
            return output::print(&(serde_json::to_string(&image)? + "\n"));
        }
        output::print(&format!("{} sha256:{} {} bytes\n", image.reference, image.digest, image.size))
    }
}
