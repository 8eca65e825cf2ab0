//! Files of images, by the library that makes them.

use std::path::Path;

use bulkhead_image::{BuildOptions, Source};
use bulkhead_protocol::image::Manifest;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Makes a container root from a source; `store` has what was pulled.
pub fn build(source: &Source, store: &Path, output: &Path) -> Result<(), Failure> {
    let options = BuildOptions { store: Some(store.to_owned()), ..BuildOptions::default() };
    bulkhead_image::build(source, output, &options)?;
    Ok(())
}

/// An image's manifest, once every part of the file is what the manifest says.
pub fn read(path: &Path) -> Result<Manifest, Failure> {
    let manifest = bulkhead_image::read_manifest(path)?;
    bulkhead_image::verify(path, &manifest)?;
    Ok(manifest)
}
