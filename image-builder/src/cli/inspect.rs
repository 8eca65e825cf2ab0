//! `bulkhead-image inspect`: what a built image says of itself.

use std::path::PathBuf;

use clap::Args;

use super::{Outcome, output};

#[derive(Debug, Args)]
pub struct Inspect {
    /// The image
    file: PathBuf,
    /// Hold every part against its digest too
    #[arg(long)]
    verify: bool,
}

impl Inspect {
    pub fn execute(self, json: bool) -> Outcome {
        let manifest = bulkhead_image::read_manifest(&self.file)?;
        if self.verify {
            bulkhead_image::verify(&self.file, &manifest)?;
        }
        output::manifest(&manifest, json)
    }
}
