//! `bulkhead-image pull`: from a registry to the store.

use bulkhead_image::Reference;
use clap::Args;

use super::registry::RegistryFlags;
use super::{Outcome, output};

#[derive(Debug, Args)]
pub struct Pull {
    /// [REGISTRY/]REPOSITORY[:TAG][@sha256:DIGITS], as Docker understands it
    reference: Reference,
    #[command(flatten)]
    registry: RegistryFlags,
}

impl Pull {
    pub fn execute(&self, json: bool) -> Outcome {
        let image = self.registry.pull(&self.reference)?;
        if json {
            return output::print(&(serde_json::to_string(&image)? + "\n"));
        }
        output::print(&format!("{} sha256:{} {} bytes\n", image.reference, image.digest, image.size))
    }
}
