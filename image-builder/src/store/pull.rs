//! Pulls an image: what its reference means here, then all blobs, several at once.

use std::collections::HashSet;

use super::blobs::{FetchError, Wanted};
use super::{Progress, Store, StoreError, StoredImage};
use crate::oci::documents::{Descriptor, Document};
use crate::oci::layout::{MAX_DEPTH, for_platform, parse};
use crate::oci::media_types::{CONFIG_TYPES, INDEX_TYPES, LAYER_TYPES, MANIFEST_TYPES, check_type};
use crate::oci::publication::EMPTY;
use crate::oci::{ImageSummary, OciError, sha256_digits};
use crate::reference::Reference;
use crate::registry::{Registry, RegistryError, Session};
use crate::{artifact, at_once};

/// Blobs that are fetched, or sent, at once.
pub(crate) const AT_ONCE: usize = 3;

impl Store {
    /// Pulls what a reference means now. Blobs that are there are not fetched again.
    pub fn pull(
        &self,
        registry: &Registry,
        reference: &Reference,
        progress: &dyn Progress,
    ) -> Result<StoredImage, StoreError> {
        self.pull_kind(registry, reference, &IMAGE, progress)
    }

    /// Pulls an artifact that is a built image; its file is the last blob.
    pub fn pull_artifact(
        &self,
        registry: &Registry,
        reference: &Reference,
        progress: &dyn Progress,
    ) -> Result<StoredImage, StoreError> {
        self.pull_kind(registry, reference, &ARTIFACT, progress)
    }

    /// What a reference means now, by its documents alone. They stay in the store until the next collection.
    pub fn look(
        &self,
        registry: &Registry,
        reference: &Reference,
        progress: &dyn Progress,
    ) -> Result<ImageSummary, StoreError> {
        let _lease = self.lease()?;
        let sources = sources(registry, reference)?;
        let pull = Pull { store: self, sources: &sources, reference, kind: &IMAGE, progress };
        let missing = || self.no_image(reference);
        pull.begin()?.summary.ok_or_else(missing)
    }

    fn pull_kind(
        &self,
        registry: &Registry,
        reference: &Reference,
        kind: &Kind,
        progress: &dyn Progress,
    ) -> Result<StoredImage, StoreError> {
        let _lease = self.lease()?;
        let sources = sources(registry, reference)?;
        let pull = Pull { store: self, sources: &sources, reference, kind, progress };
        let Begun { mut image, wanted, .. } = pull.begin()?;
        pull.fetch(&wanted[1..])?;
        image.size += wanted.iter().map(|wanted| wanted.size).sum::<u64>();
        image.blobs.extend(wanted.into_iter().map(|wanted| wanted.digest));
        self.remember(&image)?;
        Ok(image)
    }
}

fn sources<'r>(registry: &'r Registry, reference: &Reference) -> Result<Vec<Session<'r>>, StoreError> {
    registry.sources(reference).map_err(|error| StoreError::Pull(reference.to_string(), Box::new(error)))
}

/// An image whose documents are here.
struct Begun {
    /// Its documents but for the configuration.
    image: StoredImage,
    /// The configuration, which is here, and the layers, each once.
    wanted: Vec<Wanted>,
    /// What the configuration says, where there is one.
    summary: Option<ImageSummary>,
}

/// What is pulled.
struct Kind {
    configs: &'static [&'static str],
    layers: &'static [&'static str],
    has_configuration: bool,
}

const IMAGE: Kind = Kind { configs: CONFIG_TYPES, layers: LAYER_TYPES, has_configuration: true };

const ARTIFACT: Kind = Kind { configs: &[EMPTY.0], layers: &[artifact::LAYER], has_configuration: false };

struct Pull<'p> {
    store: &'p Store,
    sources: &'p [Session<'p>],
    reference: &'p Reference,
    kind: &'p Kind,
    progress: &'p dyn Progress,
}

impl Pull<'_> {
    fn unusable(&self, error: OciError) -> StoreError {
        StoreError::Unusable(self.reference.to_string(), Box::new(error))
    }

    /// Fetches the documents: what cannot run is known before its layers are fetched.
    fn begin(&self) -> Result<Begun, StoreError> {
        let mut image = StoredImage {
            reference: self.reference.to_string(),
            digest: String::new(),
            manifest: String::new(),
            size: 0,
            blobs: Vec::new(),
        };
        let (name, manifest) = self.manifest(&mut image)?;
        let (Some(config), Some(layers)) = (manifest.config, manifest.layers) else {
            let what = "it names no configuration or no layers".to_owned();
            return Err(self.unusable(OciError::Unusable(name, what)));
        };
        let wanted = self.wanted(&config, &layers).map_err(|error| self.unusable(error))?;
        self.fetch(&wanted[..1])?;
        let limits = &self.store.limits;
        let mut summary = None;
        if self.kind.has_configuration {
            let bytes = self.store.document(&wanted[0].digest, limits.document)?.unwrap_or_default();
            let summed = ImageSummary::new(&image.manifest, (&config, &bytes), &layers, limits);
            summary = Some(summed.map_err(|error| self.unusable(error))?);
        }
        Ok(Begun { image, wanted, summary })
    }

    /// Follows indexes to the manifest for this platform; notes in `image` what it meets.
    fn manifest(&self, image: &mut StoredImage) -> Result<(String, Document), StoreError> {
        let tag = self.reference.tag().unwrap_or("latest");
        let mut name =
            self.reference.digest().map_or_else(|| tag.to_owned(), |digest| format!("sha256:{digest}"));
        let mut size = None;
        for _ in 0..=MAX_DEPTH {
            let (bytes, digest, media_type) = self.document(&name)?;
            let title = format!("sha256:{digest}");
            if size.is_some_and(|size| size != bytes.len() as u64) {
                return Err(self.unusable(OciError::Mismatch(title, "size")));
            }
            let mut document = parse(&title, &bytes).map_err(|error| self.unusable(error))?;
            let other = if document.manifests.is_some() { MANIFEST_TYPES } else { INDEX_TYPES };
            if media_type.is_some_and(|kind| other.contains(&kind.as_str())) {
                let what = "it is an index by its type and a manifest by its content, or the other way round";
                return Err(self.unusable(OciError::Ambiguous(title, what)));
            }
            self.store.keep(&digest, &bytes)?;
            image.size += bytes.len() as u64;
            image.blobs.push(digest.clone());
            if image.digest.is_empty() {
                image.digest.clone_from(&digest);
            }
            let Some(manifests) = document.manifests.take() else {
                image.manifest = digest;
                return Ok((title, document));
            };
            let next = for_platform(&manifests).map_err(|error| self.unusable(error))?;
            name = format!("sha256:{}", sha256_digits(&next.digest).map_err(|error| self.unusable(error))?);
            size = Some(next.size);
        }
        let what = "it is an index of an index of an index of an index".to_owned();
        Err(self.unusable(OciError::Unusable(name, what)))
    }

    /// A document from the store, else from the first source that has it.
    fn document(&self, name: &str) -> Result<(Vec<u8>, String, Option<String>), StoreError> {
        let limit = self.store.limits.document;
        if let Some(digest) = name.strip_prefix("sha256:")
            && let Some(bytes) = self.store.document(digest, limit)?
        {
            return Ok((bytes, digest.to_owned(), None));
        }
        let mut result = Err(RegistryError::NotFound {
            registry: self.reference.registry().to_owned(),
            what: name.to_owned(),
        });
        for source in self.sources {
            result = source.manifest(name, limit);
            if result.is_ok() {
                break;
            }
        }
        let fetched =
            result.map_err(|error| StoreError::Pull(self.reference.to_string(), Box::new(error)))?;
        Ok((fetched.bytes, fetched.digest, fetched.media_type))
    }

    /// The configuration, and each layer once.
    fn wanted(&self, config: &Descriptor, layers: &[Descriptor]) -> Result<Vec<Wanted>, OciError> {
        let limits = &self.store.limits;
        check_type(&config.digest, config, self.kind.configs)?;
        if layers.is_empty() && !self.kind.has_configuration {
            return Err(OciError::Unusable(config.digest.clone(), "it comes without a file".to_owned()));
        }
        if layers.len() > limits.layers {
            return Err(OciError::Layers(layers.len(), limits.layers));
        }
        if config.size > limits.document {
            return Err(OciError::LargeDocument(config.digest.clone(), limits.document));
        }
        let mut wanted = Vec::new();
        let mut seen = HashSet::new();
        let mut left = limits.data;
        for blob in [config].into_iter().chain(layers) {
            let digest = sha256_digits(&blob.digest)?.to_owned();
            // Wherever a layer says that it is to be had too, it is fetched from the registry (CVE-2020-15157).
            if !std::ptr::eq(blob, config) {
                check_type(&blob.digest, blob, self.kind.layers)?;
            }
            let what = || OciError::Unusable(blob.digest.clone(), "it is larger than any image".to_owned());
            left = left.checked_sub(blob.size).ok_or_else(what)?;
            let blob = Wanted { digest, size: blob.size };
            if seen.insert(blob.clone()) {
                wanted.push(blob);
            }
        }
        Ok(wanted)
    }

    /// Fetches blobs, several at once; the first error ends it.
    fn fetch(&self, wanted: &[Wanted]) -> Result<(), StoreError> {
        let fetched = at_once::for_each(wanted, AT_ONCE, |wanted| {
            self.store.fetch(wanted, self.sources, self.progress)
        });
        match fetched {
            Ok(()) => Ok(()),
            Err(FetchError::Store(error)) => Err(error),
            Err(FetchError::Registry(RegistryError::Oci(error))) => Err(self.unusable(error)),
            Err(FetchError::Registry(error)) => {
                Err(StoreError::Pull(self.reference.to_string(), Box::new(error)))
            }
        }
    }
}
