//! `bulkhead-image sbom`: of what packages an image or a source consists.

use std::path::{Path, PathBuf};

use bulkhead_image::Source;
use bulkhead_image::limits::Limits;
use bulkhead_image::sbom::{Inventory, SbomFormat, SbomSpec};
use clap::{Args, ValueEnum};

use super::{Outcome, output};

/// In what words a list of packages is written.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum Format {
    /// SPDX 2.3
    #[default]
    SpdxJson,
    /// CycloneDX 1.5
    CyclonedxJson,
}

impl From<Format> for SbomFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::SpdxJson => Self::SpdxJson,
            Format::CyclonedxJson => Self::CyclonedxJson,
        }
    }
}

#[derive(Debug, Args)]
pub struct Sbom {
    /// A built image, or a source as `build` takes it
    source: String,
    /// In what words
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The file to write, in place of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The document's time, in seconds since 1970
    #[arg(long, env = "SOURCE_DATE_EPOCH", default_value_t = 0, value_name = "SECONDS")]
    build_time: u64,
}

impl Sbom {
    pub fn execute(self) -> Outcome {
        let limits = Limits::default();
        let image = Path::new(&self.source);
        let is_path = self.source.starts_with(['/', '.']) || image.is_file();
        let inventory = if is_path {
            Inventory::of_image(image, &limits)?
        } else {
            let source = Source::parse_local(&self.source)?;
            Inventory::of_source(&source, &std::env::temp_dir(), &limits, self.build_time)?
        };
        match self.output {
            Some(path) => {
                inventory.write(&SbomSpec { path, format: self.format.into() }, self.build_time)?;
            }
            None => output::print(&inventory.document(self.format.into(), self.build_time)?)?,
        }
        tell_unread(&inventory);
        Ok(())
    }
}

/// Says what is in the image and not in the list.
pub fn tell_unread(inventory: &Inventory) {
    for words in &inventory.unread {
        eprintln!("bulkhead-image: the list lacks {words}, which cannot be read");
    }
}
