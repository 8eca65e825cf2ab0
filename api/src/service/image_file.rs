//! Files of images, by the library that makes them.

use std::path::Path;

use bulkhead_image::{BuildOptions, Source};
use bulkhead_protocol::image::Manifest;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Makes a container root from a source.
pub fn build(source: &Source, output: &Path) -> Result<(), Failure> {
    bulkhead_image::build(source, output, &BuildOptions::default())?;
    Ok(())
}

/// An image's manifest, once every part of the file is what the manifest says.
pub fn read(path: &Path) -> Result<Manifest, Failure> {
    let manifest = bulkhead_image::read_manifest(path)?;
    bulkhead_image::verify(path, &manifest)?;
    Ok(manifest)
}
