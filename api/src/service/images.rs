//! Images: files that machines share, named by what is in them.

use std::path::{Path, PathBuf};

use bulkhead_image::{Reference, Source, SourceError};
use bulkhead_protocol::image::{ImageKind, Manifest};
use sha2::{Digest, Sha256};

use super::error::ServiceError;
use super::machines::validate;
use super::model::{Image, ImageSpec, ImageStatus, ImportImage, Machine, Metadata};
use super::registry::DOCKER;
use super::{Service, clock, image_file, new_id};
use crate::host::{disk, layout};

/// The word for a file that bulkhead-image made.
const FILE: &str = "file:";
/// How a file is called that is not whole yet.
const DRAFT: &str = "draft";

impl Service {
    /// Makes an image from a source. The same image under the same name is answered again; a name that
    /// belonged to another image goes over to the new one.
    pub async fn import_image(&self, mut request: ImportImage) -> Result<Image, ServiceError> {
        if let Some(name) = &request.name {
            validate::image_name("name", name)?;
        }
        let origin = Origin::parse(&request.source)?;
        // A reference as a whole, so that those of one image are the same.
        if let Origin::Source(Source::Registry(reference)) = &origin {
            request.source = format!("{DOCKER}{reference}");
        }
        let _lease = match &origin {
            Origin::Source(Source::Registry(_)) => Some(self.blob_lease()?),
            _ => None,
        };
        let digest = match &origin {
            Origin::Source(Source::Registry(reference)) => Some(self.pull(&request, reference).await?),
            _ if request.credentials.is_some() => {
                let message = "only what comes from a registry, docker://, takes credentials".to_owned();
                return Err(ServiceError::Invalid { field: "credentials", message });
            }
            _ => None,
        };
        if let Some(digest) = &digest
            && let Some(known) = self.image_of(&request.source, digest).await?
            && request.name.as_ref().is_none_or(|name| *name == known.metadata.name)
            && known.metadata.name != short(&known.metadata.id)
        {
            return Ok(known);
        }
        let draft = self.layout.images().join(format!("{}.{DRAFT}", new_id()));
        let made = {
            let (draft, store) = (draft.clone(), self.layout.blobs());
            let words = request.source.clone();
            tokio::task::spawn_blocking(move || origin.make(&draft, &store, &words)).await.unwrap_or_else(
                |error| {
                    Err(ServiceError::Import { source_name: request.source.clone(), source: Box::new(error) })
                },
            )
        };
        let kept = match made {
            Ok(made) => self.keep_image(&request, &draft, made, digest).await,
            Err(error) => Err(error),
        };
        if kept.is_err() {
            layout::remove_file(&draft)?;
        }
        kept
    }

    /// Pulls an image; answers the digest of what its reference means.
    async fn pull(&self, request: &ImportImage, reference: &Reference) -> Result<String, ServiceError> {
        let (registries, store) = (self.registries.clone(), self.layout.blobs());
        let (reference, credentials) = (reference.clone(), request.credentials.clone());
        let source_name = request.source.clone();
        let pull = tokio::task::spawn_blocking(move || registries.pull(&store, &reference, credentials));
        let pulled = pull
            .await
            .unwrap_or_else(|error| Err(ServiceError::Import { source_name, source: Box::new(error) }))?;
        Ok(format!("sha256:{}", pulled.digest))
    }

    async fn keep_image(
        &self,
        request: &ImportImage,
        draft: &Path,
        (manifest, size): (Manifest, u64),
        digest: Option<String>,
    ) -> Result<Image, ServiceError> {
        let failed = |source| ServiceError::Record { key: "manifest".into(), source };
        let id = hex::encode(Sha256::digest(serde_json::to_vec(&manifest).map_err(failed)?));
        let name = request.name.clone().unwrap_or_else(|| fit_name(&manifest.name, &id));
        let _images = self.images.lock().await;
        if let Some(known) = self.records.by_id::<Image>(&id).await? {
            layout::remove_file(draft)?;
            if request.name.as_ref().is_none_or(|name| *name == known.metadata.name) {
                return Ok(known);
            }
            self.free_image_name(&name).await?;
            // The name is part of the record's keys: the record is made anew.
            self.records.delete(&known, Vec::new()).await?;
            let renamed = Image { metadata: Metadata { name, ..known.metadata.clone() }, ..known };
            return self.records.create(renamed, Vec::new()).await;
        }
        let image = Image {
            metadata: Metadata { id: id.clone(), name, resource_version: 0, created_at: clock::now() },
            spec: ImageSpec { source: request.source.clone() },
            status: ImageStatus {
                kind: match manifest.kind {
                    ImageKind::ContainerRoot => "container-root".to_owned(),
                    ImageKind::Appliance => "appliance".to_owned(),
                },
                size,
                config: manifest.config,
                boot_args: manifest.boot_args,
                digest,
            },
        };
        // The file first: a file without a record is swept, a record without a file could not be run.
        disk::publish(draft, &self.layout.image(&id))?;
        self.free_image_name(&image.metadata.name).await?;
        let image = self.records.create(image, Vec::new()).await?;
        self.tell(&image, "imported", None).await;
        Ok(image)
    }

    /// Takes a name away from the image that has it; that one keeps a name of its own.
    async fn free_image_name(&self, name: &str) -> Result<(), ServiceError> {
        let owner = match self.records.find::<Image>(name).await {
            Ok(owner) if owner.metadata.name == name => owner,
            Ok(_) | Err(ServiceError::NotFound { .. } | ServiceError::Ambiguous { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        self.records.delete(&owner, Vec::new()).await?;
        let own = short(&owner.metadata.id).to_owned();
        let renamed = Image { metadata: Metadata { name: own, ..owner.metadata.clone() }, ..owner };
        self.records.create(renamed, Vec::new()).await?;
        Ok(())
    }

    /// Deletes an image that no machine was made from.
    pub async fn delete_image(&self, name: &str) -> Result<(), ServiceError> {
        let _images = self.images.lock().await;
        // No machine can be recorded meanwhile.
        let _placement = self.placement.lock().await;
        let image: Image = self.find(name).await?;
        let machines = self.records.list::<Machine>().await?.items;
        if let Some(user) = machines.iter().find(|machine| machine.status.image_id == image.metadata.id) {
            let message = format!("Image {} is used by machine {}", image.metadata.name, user.metadata.name);
            return Err(ServiceError::Conflict { message });
        }
        self.records.delete(&image, Vec::new()).await?;
        layout::remove_file(&self.layout.image(&image.metadata.id))?;
        self.sweep_blobs().await?;
        self.tell(&image, "deleted", None).await;
        Ok(())
    }

    /// Removes files of images that have no record.
    pub(super) async fn sweep_images(&self) -> Result<(), ServiceError> {
        let images = self.list::<Image>().await?.items;
        for name in layout::names_in(&self.layout.images()) {
            let id = name.strip_suffix(".img");
            if !images.iter().any(|image| id == Some(image.metadata.id.as_str())) {
                layout::remove_file(&self.layout.images().join(name))?;
            }
        }
        Ok(())
    }
}

/// Where an image is to come from.
#[derive(Debug)]
enum Origin {
    /// A file that bulkhead-image made.
    File(PathBuf),
    /// Anything that it makes an image from.
    Source(Source),
}

impl Origin {
    fn parse(words: &str) -> Result<Self, ServiceError> {
        let invalid = |message: String| ServiceError::Invalid { field: "source", message };
        if words.len() > 4096 || words.contains(char::is_control) {
            return Err(invalid("a source has up to 4096 characters and no control characters".into()));
        }
        let origin = match words.strip_prefix(FILE) {
            Some(path) => Self::File(PathBuf::from(path)),
            None => Self::Source(words.parse().map_err(|error| match error {
                SourceError::Unknown(_) => invalid(format!(
                    "{words:?} starts with none of docker://, file:, oci:, oci-archive:, docker-archive:, dir:, tar: and root:"
                )),
                SourceError::Debian(why) => invalid(why.to_string()),
                SourceError::Reference(why) => invalid(why.to_string()),
                other => invalid(other.to_string()),
            })?),
        };
        if let Self::Source(Source::Store(_)) = &origin {
            return Err(invalid(format!("{words:?} is pulled by its reference, docker://")));
        }
        // Standard input is nobody's here: what is not a path of the host from its root on is refused.
        if !origin.path().is_none_or(Path::is_absolute) {
            return Err(invalid(format!("the path in {words:?} is not absolute")));
        }
        Ok(origin)
    }

    /// The file or the folder of the host, where it is one.
    fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Source(source) => source.path(),
        }
    }

    /// Makes the draft; answers its manifest and its size.
    fn make(self, draft: &Path, store: &Path, words: &str) -> Result<(Manifest, u64), ServiceError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| ServiceError::Import {
            source_name: words.to_owned(),
            source,
        };
        if !self.path().is_none_or(Path::exists) {
            return Err(ServiceError::NoSource { source_name: words.to_owned() });
        }
        match &self {
            Self::File(path) => disk::copy(path, draft).map_err(|error| failed(Box::new(error)))?,
            Self::Source(source) => image_file::build(source, store, draft).map_err(failed)?,
        }
        let manifest = image_file::read(draft).map_err(failed)?;
        if manifest.architecture != "amd64" {
            let message = format!("it is for {}, not for amd64", manifest.architecture);
            return Err(failed(message.into()));
        }
        let size = std::fs::metadata(draft).map_err(|error| failed(Box::new(error)))?.len();
        Ok((manifest, size))
    }
}

/// The manifest's name, if it can be one here.
fn fit_name(name: &str, id: &str) -> String {
    match validate::image_name("name", name) {
        Ok(()) => name.to_owned(),
        Err(_) => short(id).to_owned(),
    }
}

/// The name of an image that has no other.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_that_are_refused() {
        for words in [
            "",
            "redis",
            "file:",
            "file:relative",
            "dir:../x",
            "http://x",
            "file:/a\u{0}b",
            "tar:-",
            "-",
            "busybox",
            "root:busybox:x",
            "root:debian:--help",
        ] {
            assert!(matches!(Origin::parse(words), Err(ServiceError::Invalid { .. })), "{words:?}");
        }
        assert!(matches!(Origin::parse("file:/a").unwrap(), Origin::File(_)));
        for words in ["oci:/a:latest", "root:busybox", "root:debian:bookworm"] {
            assert!(matches!(Origin::parse(words).unwrap(), Origin::Source(_)));
        }
    }

    #[test]
    fn a_missing_source_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let draft = folder.path().join("draft");
        let origin = Origin::parse("file:/nowhere/at/all").unwrap();
        assert!(matches!(origin.make(&draft, folder.path(), "x"), Err(ServiceError::NoSource { .. })));
        assert!(!draft.exists());
    }
}
