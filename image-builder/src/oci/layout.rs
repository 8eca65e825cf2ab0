//! OCI image layouts (OCI image specification 1.1, `image-layout.md`), in a folder or a tar file.

use std::path::Path;

use super::documents::{Descriptor, Document};
use super::media_types::{CONFIG_TYPES, INDEX_TYPES, LAYER_TYPES, MANIFEST_TYPES, check_type};
use super::storage::Storage;
use super::{ARCHITECTURE, Image, Layer, OciError, configuration, sha256_digits};
use crate::limits::Limits;

/// How many indexes may lead to one another.
pub(crate) const MAX_DEPTH: usize = 4;

/// A manifest for this platform.
pub(super) struct Found {
    pub name: String,
    pub bytes: Vec<u8>,
    pub media_type: Option<String>,
    pub document: Document,
}

pub(super) fn open(
    storage: &Storage,
    path: &Path,
    tag: Option<&str>,
    limits: &Limits,
) -> Result<Image, OciError> {
    let found = manifest(storage, path, tag, limits)?;
    image(storage, &found.name, found.document, limits)
}

/// Follows indexes to a manifest.
pub(super) fn manifest(
    storage: &Storage,
    path: &Path,
    tag: Option<&str>,
    limits: &Limits,
) -> Result<Found, OciError> {
    let mut name = "index.json".to_owned();
    let mut document = parse(&name, &storage.document(&name, limits.document)?)?;
    let manifests = document.manifests.take();
    let manifests = manifests.ok_or_else(|| unusable(&name, "it lists no manifests"))?;
    let mut descriptor = tagged(path, &manifests, tag)?.clone();
    for _ in 0..MAX_DEPTH {
        name = blob_name(&descriptor)?;
        let bytes = blob(storage, &descriptor, limits)?;
        document = parse(&name, &bytes)?;
        let Some(manifests) = document.manifests.take() else {
            check_type(&name, &descriptor, MANIFEST_TYPES)?;
            return Ok(Found { name, bytes, media_type: descriptor.media_type, document });
        };
        check_type(&name, &descriptor, INDEX_TYPES)?;
        descriptor = for_platform(&manifests)?.clone();
    }
    Err(unusable(&name, "it is an index of an index of an index of an index"))
}

/// The image of a manifest by the digits of its digest.
pub(super) fn open_manifest(storage: &Storage, digits: &str, limits: &Limits) -> Result<Image, OciError> {
    let found = manifest_at(storage, digits, limits)?;
    image(storage, &found.name, found.document, limits)
}

/// The manifest with these digits.
pub(super) fn manifest_at(storage: &Storage, digits: &str, limits: &Limits) -> Result<Found, OciError> {
    let digest = format!("sha256:{digits}");
    let size = storage.open(&format!("blobs/sha256/{digits}"))?.size;
    let descriptor = Descriptor { media_type: None, digest, size, platform: None, annotations: None };
    let name = blob_name(&descriptor)?;
    let bytes = blob(storage, &descriptor, limits)?;
    let document = parse(&name, &bytes)?;
    Ok(Found { name, bytes, media_type: None, document })
}

fn image(storage: &Storage, name: &str, document: Document, limits: &Limits) -> Result<Image, OciError> {
    let (Some(config), Some(layers)) = (document.config, document.layers) else {
        return Err(unusable(name, "it names no configuration or no layers"));
    };
    let config_name = blob_name(&config)?;
    check_type(&config_name, &config, CONFIG_TYPES)?;
    let (config, diff_ids) =
        configuration(&config_name, &blob(storage, &config, limits)?, layers.len(), limits)?;
    let open = |(layer, diff_id): (Descriptor, String)| {
        let name = blob_name(&layer)?;
        check_type(&name, &layer, LAYER_TYPES)?;
        let blob = storage.open(&name)?;
        if blob.size != layer.size {
            return Err(OciError::Mismatch(name, "size"));
        }
        let digest = Some(sha256_digits(&layer.digest)?.to_owned());
        Ok(Layer { blob, name, digest, diff_id: Some(diff_id) })
    };
    let layers = layers.into_iter().zip(diff_ids).map(open).collect::<Result<_, _>>()?;
    Ok(Image::new(config, layers))
}

pub(crate) fn parse(name: &str, bytes: &[u8]) -> Result<Document, OciError> {
    let parsed = serde_json::from_slice(bytes);
    let document: Document = parsed.map_err(|error| OciError::Parse(name.to_owned(), error))?;
    if document.fs_layers.is_some() || document.schema_version.is_some_and(|version| version != 2) {
        return Err(unusable(name, "its schemaVersion is not 2, and Docker's first schema is not read"));
    }
    // One reader would take it for an index and another for a manifest (GHSA-77vh-xpmg-72qh).
    if document.manifests.is_some() && (document.layers.is_some() || document.config.is_some()) {
        return Err(OciError::Ambiguous(name.to_owned(), "it is an index and a manifest at once"));
    }
    Ok(document)
}

/// Reads a document after its size and its digest have been checked.
fn blob(storage: &Storage, descriptor: &Descriptor, limits: &Limits) -> Result<Vec<u8>, OciError> {
    let name = blob_name(descriptor)?;
    let mut blob = storage.open(&name)?;
    if blob.size != descriptor.size {
        return Err(OciError::Mismatch(name, "size"));
    }
    let bytes = storage.document(&name, limits.document)?;
    let digest = blob.sha256().map_err(|error| OciError::Blob(name.clone(), "the image".into(), error))?;
    if digest != sha256_digits(&descriptor.digest)? {
        return Err(OciError::Mismatch(name, "digest"));
    }
    Ok(bytes)
}

pub(super) fn blob_name(descriptor: &Descriptor) -> Result<String, OciError> {
    Ok(format!("blobs/sha256/{}", sha256_digits(&descriptor.digest)?))
}

fn tagged<'d>(
    path: &Path,
    manifests: &'d [Descriptor],
    tag: Option<&str>,
) -> Result<&'d Descriptor, OciError> {
    let fits = |descriptor: &&Descriptor| tag.is_none() || descriptor.tag() == tag;
    let mut found = manifests.iter().filter(fits);
    match (found.next(), tag) {
        (Some(first), _) if found.all(|other| other.digest == first.digest) => Ok(first),
        (Some(_), Some(_)) => {
            Err(OciError::Ambiguous("index.json".to_owned(), "two different images have that tag"))
        }
        (_, tag) => {
            let tags: Vec<_> = manifests.iter().filter_map(Descriptor::tag).take(10).collect();
            let wanted = tag.map_or_else(|| "without a tag".to_owned(), |tag| format!("{tag:?}"));
            Err(OciError::NoImage(path.to_owned(), wanted, tags.join(", ")))
        }
    }
}

pub(crate) fn for_platform(manifests: &[Descriptor]) -> Result<&Descriptor, OciError> {
    let runs = |descriptor: &&Descriptor| match &descriptor.platform {
        Some(platform) => platform.os == "linux" && platform.architecture == ARCHITECTURE,
        // The configuration tells.
        None => manifests.len() == 1,
    };
    manifests.iter().find(runs).ok_or_else(|| {
        let platforms = manifests.iter().filter_map(|descriptor| descriptor.platform.as_ref()).take(10);
        let platforms = platforms.map(|platform| format!("{}/{}", platform.os, platform.architecture));
        OciError::Platform(platforms.collect::<Vec<_>>().join(", "))
    })
}

pub(super) fn unusable(name: &str, what: &str) -> OciError {
    OciError::Unusable(name.to_owned(), what.to_owned())
}
