//! Container images on the local disk: layouts, archives, documents, layers.

mod ahead;
mod compression;
mod docker;
pub(crate) mod documents;
pub mod layer;
pub(crate) mod layout;
pub(crate) mod media_types;
pub(crate) mod publication;
mod storage;
mod summary;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bulkhead_protocol::image::ImageConfig;
use thiserror::Error;

use crate::digest::Sha256;
use crate::limits::Limits;
use crate::progress::{LAYERS, Outcome, Progress};
use crate::source::Source;
use ahead::Ahead;
use documents::Configuration;
use layer::{Assembly, LayerError};
use storage::{Blob, Storage};

pub use publication::{Publication, PublishedBlob, publication};
pub(crate) use publication::{artifact, stored_publication};
pub(crate) use storage::{open_file, open_folder};
pub use summary::{ImageSummary, LayerSummary};

/// What a blob is named by.
const DIGEST: &str = "digest";

/// The only platform that runs.
pub const ARCHITECTURE: &str = "amd64";

/// Why an image cannot be read.
#[derive(Debug, Error)]
pub enum OciError {
    /// The source itself.
    #[error("Cannot open {0}")]
    Open(PathBuf, #[source] io::Error),
    /// The tar file around an image.
    #[error("Cannot read the archive {0}")]
    Archive(PathBuf, #[source] io::Error),
    /// Standard input.
    #[error("Cannot take in standard input")]
    Stdin(#[source] io::Error),
    /// Standard input over the limit.
    #[error("Standard input is larger than {0} bytes")]
    LargeStdin(u64),
    /// A blob that is not there or cannot be read.
    #[error("Cannot read {0} of {1}")]
    Blob(String, PathBuf, #[source] io::Error),
    /// A temporary file.
    #[error("Cannot write a temporary file beside the output")]
    Spill(#[source] io::Error),
    /// The thread that reads layers.
    #[error("Cannot start reading the layers")]
    Thread(#[source] io::Error),
    /// A document over the limit.
    #[error("The document {0} is larger than {1} bytes")]
    LargeDocument(String, u64),
    /// A document that is no JSON, or not what it should be.
    #[error("Cannot understand the document {0}")]
    Parse(String, #[source] serde_json::Error),
    /// A document that says two things at once.
    #[error("The document {0} is ambiguous: {1}")]
    Ambiguous(String, &'static str),
    /// A document of a kind that cannot be used.
    #[error("The document {0} is not usable: {1}")]
    Unusable(String, String),
    /// A digest in words that are not understood.
    #[error("The digest {0:?} is not sha256 and 64 hexadecimal digits")]
    Digest(String),
    /// A blob that is not what its name says.
    #[error("The content of {0} does not match its {1}")]
    Mismatch(String, &'static str),
    /// No such image, or too many.
    #[error("{0} holds no image {1}; it holds: {2}")]
    NoImage(PathBuf, String, String),
    /// Not for this platform.
    #[error("The image is for {0} and only linux/amd64 runs")]
    Platform(String),
    /// Too many layers.
    #[error("The image has {0} layers and at most {1} are taken")]
    Layers(usize, usize),
    /// A layer cannot be applied.
    #[error("Cannot apply layer {0}")]
    Layer(u32, #[source] LayerError),
}

/// An image: its configuration, and its layers from the lowest up.
#[derive(Debug)]
pub struct Image {
    /// How to run it.
    pub config: ImageConfig,
    layers: Vec<Layer>,
    progress: Option<Arc<dyn Progress>>,
}

/// A layer that has not been read yet.
#[derive(Debug)]
struct Layer {
    blob: Blob,
    /// Its name for people.
    name: String,
    /// SHA-256 of the blob, where a manifest tells it.
    digest: Option<String>,
    /// SHA-256 of the uncompressed layer, where a configuration tells it.
    diff_id: Option<String>,
}

/// Opens an image. `scratch` is a folder for temporary files without a name.
pub fn open(source: &Source, scratch: &Path, limits: &Limits) -> Result<Option<Image>, OciError> {
    match source {
        Source::OciLayout { path, tag } => {
            layout::open(&Storage::folder(path)?, path, tag.as_deref(), limits).map(Some)
        }
        Source::OciArchive { path, tag } => {
            layout::open(&Storage::archive(path, scratch, limits)?, path, tag.as_deref(), limits).map(Some)
        }
        Source::DockerArchive { path, reference } => {
            let storage = Storage::archive(path, scratch, limits)?;
            docker::open(&storage, path, reference.as_deref(), limits).map(Some)
        }
        Source::Tar(path) => {
            let file = storage::open_source(path, scratch, limits)?;
            let blob = Blob::whole(file).map_err(|error| OciError::Open(path.clone(), error))?;
            let layer = Layer { blob, name: source.to_string(), digest: None, diff_id: None };
            Ok(Some(Image::new(ImageConfig::default(), vec![layer])))
        }
        Source::Directory(_) | Source::Root(_) | Source::Registry(_) | Source::Store(_) => Ok(None),
    }
}

/// The digits of the digest of the manifest that a layout's tag means now; none of another source.
pub(crate) fn manifest_digest(source: &Source, limits: &Limits) -> Result<Option<String>, OciError> {
    let Source::OciLayout { path, tag } = source else { return Ok(None) };
    let found = layout::manifest(&Storage::folder(path)?, path, tag.as_deref(), limits)?;
    Ok(Some(hex::encode(Sha256::digest(&found.bytes))))
}

/// Opens the image of a manifest in a folder of blobs: a store or a layout.
pub(crate) fn open_manifest(
    folder: File,
    path: &Path,
    manifest: &str,
    limits: &Limits,
) -> Result<Image, OciError> {
    layout::open_manifest(&Storage::Folder(path.to_owned(), folder), manifest, limits)
}

impl Image {
    fn new(config: ImageConfig, layers: Vec<Layer>) -> Self {
        Self { config, layers, progress: None }
    }

    /// Tells from now on how far it is with [`LAYERS`].
    pub(crate) fn tell(&mut self, progress: &Arc<dyn Progress>) {
        self.progress = Some(Arc::clone(progress));
    }

    /// Applies all layers. What a layer brought is of no use before its blob and its content were held against their
    /// digests: where one does not match, all of it is an error.
    pub fn assemble(self, assembly: &mut Assembly<'_>, limits: &Limits) -> Result<(), OciError> {
        let again = |layer: &Layer| layer.blob.again();
        let blobs = self.layers.iter().map(again).collect::<io::Result<_>>().map_err(OciError::Thread)?;
        if let Some(progress) = &self.progress {
            progress.begin(LAYERS, self.layers.iter().map(|layer| layer.blob.size).sum(), 0);
        }
        let mut ahead = Ahead::start(blobs, limits, self.progress.as_ref()).map_err(OciError::Thread)?;
        for (number, layer) in (1..).zip(self.layers) {
            let applied = match layer.digest.is_some() || layer.diff_id.is_some() {
                true => assembly.apply_whole(number, &mut ahead),
                false => assembly.apply(number, &mut ahead),
            };
            if let Err(error) = applied {
                let mismatch = if limits.cancellation.is_cancelled() { None } else { layer.mismatch() };
                return Err(mismatch.unwrap_or(OciError::Layer(number, error)));
            }
            let found =
                ahead.end_layer().map_err(|error| OciError::Layer(number, LayerError::Read(error)))?;
            if layer.digest.is_some_and(|digest| digest != found.blob) {
                return Err(OciError::Mismatch(layer.name, DIGEST));
            }
            if layer.diff_id.is_some_and(|digest| digest != found.content) {
                return Err(OciError::Mismatch(layer.name, "uncompressed digest (diff_id)"));
            }
        }
        if let Some(progress) = &self.progress {
            progress.end(LAYERS, Outcome::Transferred);
        }
        Ok(())
    }
}

/// Reads a file uncompressed, at most `limit` bytes of it; none where it is not compressed.
pub(crate) fn uncompressed(file: File, limit: u64) -> io::Result<Option<Box<dyn Read>>> {
    match compression::of(&file)? {
        None => Ok(None),
        Some(_) => Ok(Some(Box::new(compression::reader(file, limit)?))),
    }
}

impl Layer {
    /// Where a layer could not be applied since its blob is not what the manifest names, that is the better word.
    fn mismatch(mut self) -> Option<OciError> {
        let found = self.blob.sha256().ok()?;
        self.digest.is_some_and(|digest| digest != found).then_some(OciError::Mismatch(self.name, DIGEST))
    }
}

/// The digits of a digest; no other algorithm is in use.
pub(crate) fn sha256_digits(digest: &str) -> Result<&str, OciError> {
    let digits = digest.strip_prefix("sha256:").filter(|digits| is_sha256(digits));
    digits.ok_or_else(|| OciError::Digest(digest.chars().take(100).collect()))
}

pub(crate) fn is_sha256(digits: &str) -> bool {
    digits.len() == 64 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

/// Checks a configuration against the platform and the number of layers; returns it with the digests of
/// the uncompressed layers.
pub(crate) fn configuration(
    name: &str,
    bytes: &[u8],
    layers: usize,
    limits: &Limits,
) -> Result<(ImageConfig, Vec<String>), OciError> {
    let parsed = serde_json::from_slice(bytes);
    let document: Configuration = parsed.map_err(|error| OciError::Parse(name.to_owned(), error))?;
    if document.os != "linux" || document.architecture != ARCHITECTURE {
        return Err(OciError::Platform(format!("{}/{}", document.os, document.architecture)));
    }
    let diff_ids = document.rootfs.diff_ids.unwrap_or_default();
    if layers > limits.layers {
        return Err(OciError::Layers(layers, limits.layers));
    }
    if diff_ids.len() != layers {
        let what = format!("it names {} layers and the manifest {layers}", diff_ids.len());
        return Err(OciError::Unusable(name.to_owned(), what));
    }
    let diff_ids = diff_ids.iter().map(|digest| sha256_digits(digest).map(str::to_owned));
    Ok((document.config.unwrap_or_default().into(), diff_ids.collect::<Result<_, _>>()?))
}
