//! `bulkhead-image push`: an image or a built file to a registry.

use std::env;
use std::error::Error;
use std::path::Path;

use bulkhead_image::command_line::Bars;
use bulkhead_image::limits::Limits;
use bulkhead_image::oci::{self, Publication};
use bulkhead_image::registry::Access;
use bulkhead_image::{Reference, Source, artifact};
use clap::Args;
use serde_json::json;

use super::registry::RegistryFlags;
use super::{Outcome, output};

/// The word for a file that was built.
const FILE: &str = "file:";

#[derive(Debug, Args)]
pub struct Push {
    /// store:REF that was pulled, oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:REF]; or file:FILE that
    /// was built, which becomes an artifact
    source: String,
    /// Where to: [REGISTRY/]REPOSITORY[:TAG]
    reference: Reference,
    #[command(flatten)]
    registry: RegistryFlags,
}

impl Push {
    pub fn execute(&self, json: bool) -> Outcome {
        let publication = self.publication()?;
        let registry = self.registry.registry()?;
        let session = registry.session(&self.reference, Access::Push)?.taking_from(publication.from.as_ref());
        let digest = session.push(&publication, self.reference.tag(), &Bars::default())?;
        if json {
            let document =
                json!({"reference": self.reference.to_string(), "digest": format!("sha256:{digest}")});
            return output::print(&format!("{document}\n"));
        }
        output::print(&format!("{} sha256:{digest}\n", self.reference))
    }

    fn publication(&self) -> Result<Publication, Box<dyn Error>> {
        if let Some(path) = self.source.strip_prefix(FILE) {
            return Ok(artifact::artifact(Path::new(path))?);
        }
        match self.source.parse()? {
            Source::Store(reference) => Ok(self.registry.store()?.publication(&reference)?),
            source => {
                let opened = oci::publication(&source, &env::temp_dir(), &Limits::default())?;
                Ok(opened.ok_or(
                    "Only an image of layers can be pushed, or a file that was built from the source",
                )?)
            }
        }
    }
}
