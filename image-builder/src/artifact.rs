//! Built images as artifacts of a registry (OCI image specification 1.1, "Guidelines for Artifact Usage"): one layer,
//! the file as it is.

use std::io;
use std::path::Path;

use bulkhead_protocol::image::ImageKind;

use crate::build::ImageError;
use crate::manifest::read_manifest;
use crate::oci::{self, Publication};
use crate::output::Output;
use crate::store::{Store, StoreError, StoredImage};

/// What an artifact of an appliance is.
pub const APPLIANCE: &str = "application/vnd.bulkhead.appliance.v1";

/// What an artifact of a container root is.
pub const CONTAINER_ROOT: &str = "application/vnd.bulkhead.container-root.v1";

/// What its layer is.
pub const LAYER: &str = "application/vnd.bulkhead.image.v1";

/// A built image, to be sent to a registry.
pub fn artifact(path: &Path) -> Result<Publication, ImageError> {
    let failed = |error| ImageError::Write(path.to_owned(), error);
    let kind = match read_manifest(path)?.kind {
        ImageKind::Appliance => APPLIANCE,
        ImageKind::ContainerRoot => CONTAINER_ROOT,
    };
    let title = path.file_name().unwrap_or_default().to_string_lossy();
    let file = oci::open_file(path).map_err(failed)?;
    oci::artifact(file, kind, LAYER, &title).map_err(failed)
}

/// Writes the file of an artifact that was pulled.
pub fn unpack(store: &Store, image: &StoredImage, output: &Path) -> Result<(), ImageError> {
    let failed = |error| ImageError::Write(output.to_owned(), error);
    let content = image.blobs.last().map(|digest| store.blob(digest)).transpose()?.flatten();
    let mut content =
        content.ok_or_else(|| StoreError::NoImage(store.path().to_owned(), image.reference.clone()))?;
    let file = Output::begin(output).map_err(failed)?;
    io::copy(&mut content, &mut file.file()).map_err(failed)?;
    file.finish().map_err(failed)
}
