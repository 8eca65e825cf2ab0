//! Images: names for files that machines share, the roots. A root is kept once by what it was made from.

mod board;
mod file;
mod origin;
mod roots;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bulkhead_image::digest::Sha256;
use bulkhead_image::progress::{Outcome, Progress, ROOT};
use bulkhead_image::store::StoredImage;
use bulkhead_image::{BuildOptions, Cancellation, Reference, Source};
use bulkhead_protocol::image::{ImageKind, Manifest};
use tokio::sync::watch;

use super::error::ServiceError;
use super::machines::validate;
use super::model::{Image, ImageSpec, ImageStatus, ImportImage, Machine, Metadata};
use super::registry::{DOCKER, PullTask};
use super::{Service, Wanted, clock, new_id, to_its_end};
use crate::host::layout;
use board::Board;
use origin::{Failure, Origin};
use roots::Root;

pub use board::{ImportProgress, Seen};
pub use roots::Builds;

/// How a file is called that is not whole yet.
const DRAFT: &str = "draft";

/// A root, and what names it.
struct Kept {
    /// The name of its file.
    key: String,
    root: Arc<Root>,
    /// What the image is called unless it is asked for otherwise.
    own_name: String,
    /// What its reference meant.
    digest: Option<String>,
}

impl Service {
    /// Makes an image from a source. The same root under the same name is answered again; a name that belonged to
    /// another image goes over to the new one.
    pub async fn import_image(
        self: &Arc<Self>,
        mut request: ImportImage,
        progress: &Arc<ImportProgress>,
    ) -> Result<Image, ServiceError> {
        if let Some(name) = &request.name {
            validate::image_name("name", name)?;
        }
        let origin = Origin::parse(&request.source)?;
        let mut options = BuildOptions { store: Some(self.layout.blobs()), ..BuildOptions::default() };
        let Origin::Source(Source::Registry(reference)) = &origin else {
            if request.credentials.is_some() {
                let message = "only what comes from a registry, docker://, takes credentials".to_owned();
                return Err(ServiceError::Invalid { field: "credentials", message });
            }
            let (asked, mut given) = (origin.clone(), options.clone());
            let look = move |cancellation: Cancellation| {
                given.limits.cancellation = cancellation;
                asked.manifest(&given)
            };
            options.manifest = wanted(&request, look).await?;
            let kept = self.root(origin, options, None, progress).await?;
            return self.keep_image(request, kept).await;
        };
        // A reference as a whole, so that those of one image are the same.
        request.source = format!("{DOCKER}{reference}");
        let _lease = self.blob_lease()?;
        let pulled = self.pull(&request, reference, progress).await?;
        let digest = format!("sha256:{}", pulled.digest);
        let name = request.name.clone().unwrap_or_else(|| reference.familiar());
        if let Some(known) = self.image_called(&name).await?
            && known.spec.source == request.source
            && known.status.digest.as_ref() == Some(&digest)
        {
            return Ok(known);
        }
        options.manifest = Some(pulled.manifest);
        let kept = self.root(origin, options, Some(digest), progress).await?;
        self.keep_image(request, kept).await
    }

    /// The root of a source: the one that is there, the one that is being made, or a new one.
    async fn root(
        &self,
        origin: Origin,
        mut options: BuildOptions,
        digest: Option<String>,
        progress: &ImportProgress,
    ) -> Result<Kept, ServiceError> {
        // Roots that several names share have a name of their own.
        options.name = options.manifest.as_ref().map(|digits| format!("sha256:{digits}"));
        let key = options.manifest.as_ref().map(|digits| roots::key(digits, &options));
        let own_name = origin.name();
        let place = key.as_ref().map(|key| self.layout.image(key));
        let (images, made) = (self.layout.images(), self.builds.counter());
        let make = move |cancellation: &Cancellation, board: &Arc<Board>| {
            let draft = || images.join(format!("{}.{DRAFT}", new_id()));
            if let Some(root) = place.and_then(|place| Root::existing(&place, draft())) {
                board.begin(ROOT, root.size, 0);
                board.end(ROOT, Outcome::Present);
                return Ok(root);
            }
            options.limits.cancellation = cancellation.clone();
            options.progress = Some(Arc::clone(board) as Arc<dyn Progress>);
            made.fetch_add(1, Ordering::Relaxed);
            Root::make(&origin, draft(), &options)
        };
        let root = self.builds.share(key.as_deref(), progress, make).await?;
        let own_name = own_name.unwrap_or_else(|| root.manifest.name.clone());
        let key = match key {
            Some(key) => key,
            None => digest_of(&root.manifest)?,
        };
        Ok(Kept { key, root, own_name, digest })
    }

    /// How many roots are being made.
    pub fn builds(&self) -> watch::Receiver<usize> {
        self.builds.busy()
    }

    /// Pulls an image.
    async fn pull(
        &self,
        request: &ImportImage,
        reference: &Reference,
        progress: &Arc<ImportProgress>,
    ) -> Result<StoredImage, ServiceError> {
        let progress = Arc::clone(progress);
        let (registries, store) = (self.registries.clone(), self.layout.blobs());
        let (reference, credentials) = (reference.clone(), request.credentials.clone());
        let pull = move |cancellation: Cancellation| {
            let task = PullTask { store: &store, cancellation: &cancellation, progress: &progress.pull };
            registries.pull(&reference, credentials, &task)
        };
        wanted(request, pull).await
    }

    /// Records the image of a root, whether who asked for it is still there or not.
    async fn keep_image(self: &Arc<Self>, request: ImportImage, kept: Kept) -> Result<Image, ServiceError> {
        let service = Arc::clone(self);
        to_its_end("image", async move { service.record_image(&request, kept).await }).await
    }

    async fn record_image(&self, request: &ImportImage, kept: Kept) -> Result<Image, ServiceError> {
        let image = new_image(request, &kept)?;
        let name = image.metadata.name.clone();
        let _images = self.images.lock().await;
        if let Some(known) = self.image_called(&name).await?
            && known.root() == image.root()
        {
            return self.retold(known, image).await;
        }
        if let Some(known) = self.records.by_id::<Image>(&image.metadata.id).await? {
            if name == known.metadata.name {
                return Ok(known);
            }
            self.free_image_name(&name).await?;
            // The name is part of the record's keys: the record is made anew.
            self.records.delete(&known, Vec::new()).await?;
            let renamed = Image { metadata: Metadata { name, ..known.metadata.clone() }, ..known };
            return self.records.create(renamed, Vec::new()).await;
        }
        // The file first: a file without a record is swept, a record without a file could not be run.
        kept.root.publish(&self.layout.image(image.root()))?;
        let recorded = match self.free_image_name(&name).await {
            Ok(()) => self.records.create(image, Vec::new()).await,
            Err(error) => Err(error),
        };
        if recorded.is_err() {
            self.drop_root(&kept.key).await?;
        }
        let image = recorded?;
        self.tell(&image, "imported", None).await;
        Ok(image)
    }

    /// An image that is there, as it was made this time: from another source, maybe.
    async fn retold(&self, known: Image, image: Image) -> Result<Image, ServiceError> {
        if (&known.spec, &known.status.digest) == (&image.spec, &image.status.digest) {
            return Ok(known);
        }
        let tell = |known: &mut Image| {
            known.spec.clone_from(&image.spec);
            known.status.digest.clone_from(&image.status.digest);
            Ok(())
        };
        self.records.update(&known.metadata.id, tell).await
    }

    /// The image of exactly that name.
    async fn image_called(&self, name: &str) -> Result<Option<Image>, ServiceError> {
        match self.records.find::<Image>(name).await {
            Ok(image) if image.metadata.name == name => Ok(Some(image)),
            Ok(_) | Err(ServiceError::NotFound { .. } | ServiceError::Ambiguous { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes a name away from the image that has it; that one keeps a name of its own.
    async fn free_image_name(&self, name: &str) -> Result<(), ServiceError> {
        let Some(owner) = self.image_called(name).await? else { return Ok(()) };
        self.records.delete(&owner, Vec::new()).await?;
        let own = short(&owner.metadata.id).to_owned();
        let renamed = Image { metadata: Metadata { name: own, ..owner.metadata.clone() }, ..owner };
        self.records.create(renamed, Vec::new()).await?;
        Ok(())
    }

    /// Removes a root that no image has. Images are neither added nor deleted meanwhile.
    async fn drop_root(&self, key: &str) -> Result<(), ServiceError> {
        let images = self.records.list::<Image>().await?.items;
        match images.iter().any(|image| image.root() == key) {
            true => Ok(()),
            false => Ok(layout::remove_file(&self.layout.image(key))?),
        }
    }

    /// Deletes an image that no machine was made from.
    pub async fn delete_image(self: &Arc<Self>, name: &str) -> Result<(), ServiceError> {
        let (service, name) = (Arc::clone(self), name.to_owned());
        to_its_end("image", async move { service.remove_image(&name).await }).await
    }

    async fn remove_image(&self, name: &str) -> Result<(), ServiceError> {
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
        self.drop_root(image.root()).await?;
        self.sweep_blobs().await?;
        self.tell(&image, "deleted", None).await;
        Ok(())
    }

    /// Removes drafts, and roots that no image has.
    pub(super) async fn sweep_images(&self) -> Result<(), ServiceError> {
        let images = self.list::<Image>().await?.items;
        for name in layout::names_in(&self.layout.images()) {
            let key = name.strip_suffix(".img");
            if !images.iter().any(|image| key == Some(image.root())) {
                layout::remove_file(&self.layout.images().join(name))?;
            }
        }
        Ok(())
    }
}

/// Work that blocks, cancelled when nobody waits for it any more.
async fn wanted<T: Send + 'static, E: Send + 'static>(
    request: &ImportImage,
    work: impl FnOnce(Cancellation) -> Result<T, E> + Send + 'static,
) -> Result<T, ServiceError>
where
    ServiceError: From<E>,
{
    let wanted = Wanted::default();
    let cancellation = wanted.cancellation();
    let ended = tokio::task::spawn_blocking(move || work(cancellation)).await;
    Ok(ended.map_err(|error| Failure::of(&request.source, error))??)
}

/// SHA-256 of a manifest, in hexadecimal.
fn digest_of(manifest: &Manifest) -> Result<String, ServiceError> {
    let failed = |source| ServiceError::Record { key: "manifest".into(), source };
    Ok(hex::encode(Sha256::digest(serde_json::to_vec(manifest).map_err(failed)?)))
}

/// The image of a root. Its id is the digest of the root's manifest with the image's own name in it.
fn new_image(request: &ImportImage, kept: &Kept) -> Result<Image, ServiceError> {
    let mut manifest = Manifest { name: kept.own_name.clone(), ..kept.root.manifest.clone() };
    let mut id = digest_of(&manifest)?;
    let name = request.name.clone().unwrap_or_else(|| fit_name(&manifest.name, &id));
    if request.name.is_some() {
        manifest.name.clone_from(&name);
        id = digest_of(&manifest)?;
    }
    Ok(Image {
        metadata: Metadata { id, name, resource_version: 0, created_at: clock::now() },
        spec: ImageSpec { source: request.source.clone() },
        status: ImageStatus {
            kind: match manifest.kind {
                ImageKind::ContainerRoot => "container-root".to_owned(),
                ImageKind::Appliance => "appliance".to_owned(),
            },
            size: kept.root.size,
            config: manifest.config,
            boot_args: manifest.boot_args,
            digest: kept.digest.clone(),
            root: Some(kept.key.clone()),
        },
    })
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
