//! What `docker save` and `skopeo copy … docker-archive:` write: a tar file with a `manifest.json`.

use std::path::Path;

use super::documents::SavedImage;
use super::storage::Storage;
use super::{Image, Layer, OciError, configuration, is_sha256};
use crate::limits::Limits;
use crate::reference::Reference;

const MANIFEST: &str = "manifest.json";

pub(super) fn open(
    storage: &Storage,
    path: &Path,
    reference: Option<&str>,
    limits: &Limits,
) -> Result<Image, OciError> {
    let saved = saved(storage, path, reference, limits)?;
    let bytes = storage.document(&saved.config, limits.document)?;
    // The configuration's name is its digest: HEX.json, or blobs/sha256/HEX.
    let name = saved.config.trim_end_matches(".json");
    let name = name.rsplit('/').next().unwrap_or(name);
    if is_sha256(name) && storage.open(&saved.config)?.sha256().ok().as_deref() != Some(name) {
        return Err(OciError::Mismatch(saved.config.clone(), "digest"));
    }
    let layers = saved.layers.as_deref().unwrap_or_default();
    let (config, diff_ids) = configuration(&saved.config, &bytes, layers.len(), limits)?;
    let open = |(name, diff_id): (&String, String)| {
        // A layer here may be compressed too; the configuration tells the digest of what is in it.
        Ok(Layer { blob: storage.open(name)?, name: name.clone(), digest: None, diff_id: Some(diff_id) })
    };
    let layers = layers.iter().zip(diff_ids).map(open).collect::<Result<_, _>>()?;
    Ok(Image::new(config, layers))
}

/// Which files of the archive make the image.
pub(super) fn saved(
    storage: &Storage,
    path: &Path,
    reference: Option<&str>,
    limits: &Limits,
) -> Result<SavedImage, OciError> {
    let parsed = serde_json::from_slice(&storage.document(MANIFEST, limits.document)?);
    let images: Vec<SavedImage> = parsed.map_err(|error| OciError::Parse(MANIFEST.to_owned(), error))?;
    named(path, &images, reference).cloned()
}

fn named<'s>(
    path: &Path,
    images: &'s [SavedImage],
    reference: Option<&str>,
) -> Result<&'s SavedImage, OciError> {
    let tags = |image: &'s SavedImage| image.repo_tags.iter().flatten();
    let wanted = reference.map(whole);
    let fits = |tag: &String| wanted.as_ref() == Some(&whole(tag));
    let found: Vec<_> = images.iter().filter(|image| wanted.is_none() || tags(image).any(fits)).collect();
    match (&found[..], reference) {
        ([image], _) => Ok(image),
        ([_, ..], Some(_)) => Err(OciError::Ambiguous(MANIFEST.to_owned(), "two images have that reference")),
        _ => {
            let known: Vec<_> = images.iter().flat_map(tags).take(10).map(String::as_str).collect();
            let wanted =
                reference.map_or_else(|| "without a reference".to_owned(), |wanted| format!("{wanted:?}"));
            Err(OciError::NoImage(path.to_owned(), wanted, known.join(", ")))
        }
    }
}

/// A reference with all that Docker lets people leave out; what is none, as it is.
fn whole(words: &str) -> String {
    words.parse::<Reference>().map_or_else(|_| words.to_owned(), |reference| reference.to_string())
}
