//! An image, or a file, as a registry takes it: a manifest and blobs.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde_json::{Value, json};

use super::documents::{Descriptor, SavedImage};
use super::storage::{Blob, Storage};
use super::{OciError, docker, layout, sha256_digits};
use crate::limits::Limits;
use crate::reference::Reference;
use crate::source::Source;

/// OCI's manifests.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The configuration of what has none, and its content (OCI image specification 1.1, "empty descriptor").
pub(crate) const EMPTY: (&str, &[u8]) = ("application/vnd.oci.empty.v1+json", b"{}");

/// What is sent to a registry.
#[derive(Debug)]
pub struct Publication {
    /// The manifest, to its byte.
    pub manifest: Vec<u8>,
    /// What it is.
    pub media_type: String,
    /// All that it names, each once.
    pub blobs: Vec<PublishedBlob>,
    /// Where a registry has all of it already, as far as is known.
    pub from: Option<Reference>,
}

/// A blob to be sent.
#[derive(Debug)]
pub struct PublishedBlob {
    /// The digits of its SHA-256.
    pub digest: String,
    /// Its bytes.
    pub size: u64,
    blob: Blob,
}

impl PublishedBlob {
    fn new(mut blob: Blob) -> io::Result<Self> {
        Ok(Self { digest: blob.sha256()?, size: blob.size, blob })
    }

    /// Its content, from the start.
    pub fn reader(&self) -> io::Result<impl Read> {
        self.blob.again()
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": format!("sha256:{}", self.digest), "size": self.size})
    }
}

/// The image of a source, as a layout has it or as it is made of what `docker save` writes; none where the source is
/// no image of layers.
pub fn publication(
    source: &Source,
    scratch: &Path,
    limits: &Limits,
) -> Result<Option<Publication>, OciError> {
    match source {
        Source::OciLayout { path, tag } => {
            let storage = Storage::folder(path)?;
            of_manifest(&storage, layout::manifest(&storage, path, tag.as_deref(), limits)?).map(Some)
        }
        Source::OciArchive { path, tag } => {
            let storage = Storage::archive(path, scratch, limits)?;
            of_manifest(&storage, layout::manifest(&storage, path, tag.as_deref(), limits)?).map(Some)
        }
        Source::DockerArchive { path, reference } => {
            let storage = Storage::archive(path, scratch, limits)?;
            let saved = docker::saved(&storage, path, reference.as_deref(), limits)?;
            of_saved(&storage, path, &saved).map(Some)
        }
        _ => Ok(None),
    }
}

/// The image of a manifest in a store.
pub(crate) fn stored_publication(
    folder: File,
    path: &Path,
    manifest: &str,
    limits: &Limits,
) -> Result<Publication, OciError> {
    let storage = Storage::Folder(path.to_owned(), folder);
    of_manifest(&storage, layout::manifest_at(&storage, manifest, limits)?)
}

/// A file as an artifact of one layer.
pub(crate) fn artifact(file: File, kind: &str, layer: &str, title: &str) -> io::Result<Publication> {
    let content = PublishedBlob::new(Blob::whole(file)?)?;
    let mut empty = tempfile::tempfile()?;
    io::Write::write_all(&mut empty, EMPTY.1)?;
    let empty = PublishedBlob::new(Blob::whole(empty)?)?;
    let mut descriptor = content.descriptor(layer);
    descriptor["annotations"] = json!({"org.opencontainers.image.title": title});
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind,
        "config": empty.descriptor(EMPTY.0), "layers": [descriptor],
    });
    Ok(Publication {
        manifest: manifest.to_string().into_bytes(),
        media_type: MANIFEST.to_owned(),
        blobs: vec![empty, content],
        from: None,
    })
}

fn of_manifest(storage: &Storage, found: layout::Found) -> Result<Publication, OciError> {
    let media_type = found.media_type.or(found.document.media_type).unwrap_or_else(|| MANIFEST.to_owned());
    let mut blobs: Vec<PublishedBlob> = Vec::new();
    for descriptor in found.document.config.iter().chain(found.document.layers.iter().flatten()) {
        let blob = published(storage, descriptor)?;
        if blobs.iter().all(|known| known.digest != blob.digest) {
            blobs.push(blob);
        }
    }
    Ok(Publication { manifest: found.bytes, media_type, blobs, from: None })
}

/// Not held against its digest: the registry does that.
fn published(storage: &Storage, descriptor: &Descriptor) -> Result<PublishedBlob, OciError> {
    let name = layout::blob_name(descriptor)?;
    let blob = storage.open(&name)?;
    match blob.size == descriptor.size {
        true => {
            Ok(PublishedBlob { digest: sha256_digits(&descriptor.digest)?.to_owned(), size: blob.size, blob })
        }
        false => Err(OciError::Mismatch(name, "size")),
    }
}

fn of_saved(storage: &Storage, path: &Path, saved: &SavedImage) -> Result<Publication, OciError> {
    let open = |name: &String| {
        let failed = |error| OciError::Blob(name.clone(), path.to_owned(), error);
        PublishedBlob::new(storage.open(name)?).map_err(failed)
    };
    let config = open(&saved.config)?;
    let layers: Vec<PublishedBlob> = saved.layers.iter().flatten().map(open).collect::<Result<_, _>>()?;
    let mut descriptors = Vec::new();
    for layer in &layers {
        let mut start = Vec::new();
        let read = layer.reader().and_then(|reader| reader.take(4).read_to_end(&mut start));
        read.map_err(|error| OciError::Blob(layer.digest.clone(), path.to_owned(), error))?;
        let suffix = match start[..] {
            [0x1f, 0x8b, ..] => "+gzip",
            [0x28, 0xb5, 0x2f, 0xfd] => "+zstd",
            _ => "",
        };
        descriptors.push(layer.descriptor(&format!("application/vnd.oci.image.layer.v1.tar{suffix}")));
    }
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": config.descriptor("application/vnd.oci.image.config.v1+json"), "layers": descriptors,
    });
    let mut blobs = vec![config];
    for layer in layers {
        if blobs.iter().all(|known| known.digest != layer.digest) {
            blobs.push(layer);
        }
    }
    Ok(Publication {
        manifest: manifest.to_string().into_bytes(),
        media_type: MANIFEST.to_owned(),
        blobs,
        from: None,
    })
}
