//! Files of images, by the library that makes them.

use std::path::Path;

use bulkhead_image::{BuildOptions, Cancellation, Source};
use bulkhead_protocol::image::Manifest;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Makes a container root from a source.
pub fn build(source: &Source, output: &Path, options: &BuildOptions) -> Result<(), Failure> {
    bulkhead_image::build(source, output, options)?;
    Ok(())
}

/// The digits of the manifest that a source means now, where that is known before it is built.
pub fn manifest_digest(source: &Source, options: &BuildOptions) -> Result<Option<String>, Failure> {
    Ok(bulkhead_image::manifest_digest(source, options)?)
}

/// An image's manifest, once every part of the file is what the manifest says.
pub fn read(path: &Path, cancellation: &Cancellation) -> Result<Manifest, Failure> {
    let manifest = bulkhead_image::read_manifest(path)?;
    bulkhead_image::manifest::verify_until(path, &manifest, cancellation)?;
    Ok(manifest)
}

/// The manifest of a file that was whole when it got its name; its parts are not read again.
pub fn read_known(path: &Path) -> Option<Manifest> {
    bulkhead_image::read_manifest(path).ok()
}
