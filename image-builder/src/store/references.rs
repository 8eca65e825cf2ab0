//! Which reference means which image.

use serde::{Deserialize, Serialize};

use super::{Store, StoreError};
use crate::digest::Sha256;
use crate::oci::{self, Publication};
use crate::reference::Reference;

/// Bytes of a record: five hundred digests and some words.
const MAX_RECORD: u64 = 256 << 10;

/// An image of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredImage {
    /// The reference by which it was pulled, whole.
    pub reference: String,
    /// The digits of the SHA-256 of what the reference meant: an index, or the manifest.
    pub digest: String,
    /// The digits of the SHA-256 of the manifest for this platform.
    pub manifest: String,
    /// Bytes of all blobs.
    pub size: u64,
    /// The digits of all blobs: documents and layers.
    pub blobs: Vec<String>,
}

impl Store {
    /// The image that a reference means here.
    pub fn find(&self, reference: &Reference) -> Result<Option<StoredImage>, StoreError> {
        self.record(&record_name(&reference.to_string()))
    }

    /// All images, by their references.
    pub fn images(&self) -> Result<Vec<StoredImage>, StoreError> {
        let (names, _) = self.references.names().map_err(self.failed("list", "references"))?;
        let mut images = Vec::new();
        for name in names {
            // It may have been removed meanwhile.
            images.extend(self.record(&name)?);
        }
        images.sort_by(|one, other| one.reference.cmp(&other.reference));
        Ok(images)
    }

    /// An image to be sent on.
    pub fn publication(&self, reference: &Reference) -> Result<Publication, StoreError> {
        let _lease = self.lease()?;
        let image = self.find(reference)?;
        let image = image.ok_or_else(|| self.no_image(reference))?;
        let opened = oci::stored_publication(self.handle()?, &self.path, &image.manifest, &self.limits);
        let opened = opened.map_err(|error| StoreError::Unusable(reference.to_string(), Box::new(error)))?;
        Ok(Publication { from: Some(reference.clone()), ..opened })
    }

    pub(super) fn no_image(&self, reference: &Reference) -> StoreError {
        StoreError::NoImage(self.path.clone(), reference.to_string())
    }

    /// Forgets a reference. What it meant goes with the next collection. Returns whether there was one.
    pub fn forget(&self, reference: &Reference) -> Result<bool, StoreError> {
        let there = self.find(reference)?.is_some();
        self.forget_record(&reference.to_string())?;
        Ok(there)
    }

    pub(super) fn forget_record(&self, reference: &str) -> Result<(), StoreError> {
        let name = record_name(reference);
        self.references.remove(&name).map_err(self.failed("remove", &name))
    }

    /// Records what a reference means from now on.
    pub(super) fn remember(&self, image: &StoredImage) -> Result<(), StoreError> {
        let bytes =
            serde_json::to_vec(image).map_err(|error| StoreError::Record(self.path.clone(), error))?;
        let name = record_name(&image.reference);
        self.references.write(&name, &bytes).map_err(self.failed("write", &name))
    }

    fn record(&self, name: &str) -> Result<Option<StoredImage>, StoreError> {
        let bytes = self.references.read(name, MAX_RECORD).map_err(self.failed("read", name))?;
        let parsed = bytes.map(|bytes| serde_json::from_slice(&bytes)).transpose();
        parsed.map_err(|error| StoreError::Record(self.path.clone(), error))
    }
}

fn record_name(reference: &str) -> String {
    hex::encode(Sha256::digest(reference))
}
