//! What documents and blobs say that they are (OCI image specification 1.1, `media-types.md`, and Docker's older words).

use super::OciError;
use super::documents::Descriptor;
use super::layout::unusable;

/// Indexes.
pub(crate) const INDEX_TYPES: &[&str] =
    &["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];

/// Manifests.
pub(crate) const MANIFEST_TYPES: &[&str] =
    &["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];

/// Configurations of container images.
pub(crate) const CONFIG_TYPES: &[&str] =
    &["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// Layers; how they are compressed, their first bytes tell.
pub(crate) const LAYER_TYPES: &[&str] = &[
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
];

/// Refuses a descriptor whose media type is none of `known`.
pub(crate) fn check_type(name: &str, descriptor: &Descriptor, known: &[&str]) -> Result<(), OciError> {
    match &descriptor.media_type {
        Some(kind) if !known.contains(&kind.as_str()) => {
            let kind: String = kind.chars().take(100).collect();
            Err(unusable(name, &format!("its media type {kind:?} is not that of a container image")))
        }
        _ => Ok(()),
    }
}
