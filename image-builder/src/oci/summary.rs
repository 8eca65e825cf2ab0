//! What an image's documents say of it, its layers unread.

use std::io::Read;

use bulkhead_protocol::image::ImageConfig;
use serde::Serialize;

use super::documents::Descriptor;
use super::{ARCHITECTURE, OciError, Publication, configuration, layout};
use crate::digest::Sha256;
use crate::limits::Limits;

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageSummary {
    /// `sha256:` and the digits of the manifest for this platform.
    pub digest: String,
    /// What it runs on: `amd64`.
    pub architecture: &'static str,
    /// How to run it.
    pub config: ImageConfig,
    /// From the lowest up.
    pub layers: Vec<LayerSummary>,
}

/// A layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerSummary {
    /// `sha256:` and the digits of the blob.
    pub digest: String,
    /// `sha256:` and the digits of what is in it, uncompressed.
    pub diff_id: String,
    /// Bytes of the blob.
    pub size: u64,
    /// What it says that it is.
    pub media_type: Option<String>,
}

impl ImageSummary {
    /// Of what a manifest names, and the content of the configuration that it names.
    pub(crate) fn new(
        manifest: &str,
        config: (&Descriptor, &[u8]),
        layers: &[Descriptor],
        limits: &Limits,
    ) -> Result<Self, OciError> {
        let (config, diff_ids) = configuration(&config.0.digest, config.1, layers.len(), limits)?;
        let layer = |(layer, diff_id): (&Descriptor, String)| LayerSummary {
            digest: layer.digest.clone(),
            diff_id: format!("sha256:{diff_id}"),
            size: layer.size,
            media_type: layer.media_type.clone(),
        };
        Ok(Self {
            digest: format!("sha256:{manifest}"),
            architecture: ARCHITECTURE,
            config,
            layers: layers.iter().zip(diff_ids).map(layer).collect(),
        })
    }

    /// Of an image that lies here.
    pub fn of(publication: &Publication, limits: &Limits) -> Result<Self, OciError> {
        let name = "the manifest";
        let document = layout::parse(name, &publication.manifest)?;
        let (Some(config), Some(layers)) = (document.config, document.layers) else {
            return Err(layout::unusable(name, "it names no configuration or no layers"));
        };
        let failed = |error| OciError::Blob(config.digest.clone(), "the image".into(), error);
        let digits = super::sha256_digits(&config.digest)?;
        let blob = publication.blobs.iter().find(|blob| blob.digest == digits);
        let blob = blob.ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
        if blob.size > limits.document {
            return Err(OciError::LargeDocument(config.digest.clone(), limits.document));
        }
        let mut bytes = Vec::new();
        blob.reader().and_then(|mut reader| reader.read_to_end(&mut bytes)).map_err(failed)?;
        if hex::encode(Sha256::digest(&bytes)) != digits {
            return Err(OciError::Mismatch(config.digest, super::DIGEST));
        }
        let manifest = hex::encode(Sha256::digest(&publication.manifest));
        Self::new(&manifest, (&config, &bytes), &layers, limits)
    }
}
