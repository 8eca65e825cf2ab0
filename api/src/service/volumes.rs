//! Volumes: ext4 disks that outlive machines.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::ServiceError;
use super::model::{CreateVolume, Machine, Metadata, Volume, VolumeResourceSpec, VolumeSource, VolumeStatus};
use super::{Service, Wanted, clock, machines::validate, new_id, to_its_end, volume_source};
use crate::host::disk::{self, Draft};
use crate::host::layout;

/// The size of a volume that a machine names and nobody made.
const DEFAULT_SIZE_MIB: u32 = 1024;

/// How large a volume may be, in MiB.
pub(super) const MIN_SIZE_MIB: u64 = 16;
pub(super) const MAX_SIZE_MIB: u64 = 1_048_576;

fn new_volume(name: String, size_mib: u32) -> Volume {
    Volume {
        metadata: Metadata { id: new_id(), name, resource_version: 0, created_at: clock::now() },
        spec: VolumeResourceSpec { size_mib },
        status: VolumeStatus { used_by: Vec::new() },
    }
}

impl Service {
    /// Makes a volume.
    pub async fn create_volume(self: &Arc<Self>, request: CreateVolume) -> Result<Volume, ServiceError> {
        validate::name("name", &request.name)?;
        validate::within("size_mib", u64::from(request.size_mib), MIN_SIZE_MIB, MAX_SIZE_MIB)?;
        match request.source {
            Some(source) => self.import_volume(request.name, source).await,
            None => self.empty_volume(request.name, request.size_mib).await,
        }
    }

    async fn empty_volume(&self, name: String, size_mib: u32) -> Result<Volume, ServiceError> {
        let volume = new_volume(name, size_mib);
        // The record first: a file without a record is swept, a record without a file gets one when used.
        let volume = self.records.create(volume, Vec::new()).await?;
        if let Err(error) = self.ensure_volume_file(&volume).await {
            self.records.delete(&volume, Vec::new()).await?;
            return Err(error);
        }
        self.tell(&volume, "created", None).await;
        Ok(volume)
    }

    /// Makes a volume of a disk with an ext4 file system.
    async fn import_volume(
        self: &Arc<Self>,
        name: String,
        source: VolumeSource,
    ) -> Result<Volume, ServiceError> {
        match self.records.find::<Volume>(&name).await {
            Ok(known) if known.metadata.name == name => {
                return Err(ServiceError::Exists { kind: "volume", name });
            }
            // The record is what decides in the end.
            Ok(_) | Err(ServiceError::NotFound { .. } | ServiceError::Ambiguous { .. }) => {}
            Err(error) => return Err(error),
        }
        let volume = new_volume(name, 0);
        let path = self.layout.volume(&volume.metadata.id);
        let draft = Draft::new(path.with_extension("new"));
        let words = source.location.clone();
        let wanted = Wanted::default();
        let cancellation = wanted.cancellation();
        // The draft goes with the thread that writes it, or with the record of what it became.
        let store = self.layout.blobs();
        let take = move || Ok((volume_source::take(&source, &store, draft.path(), &cancellation)?, draft));
        let (size_mib, draft) = tokio::task::spawn_blocking(take).await.unwrap_or_else(|error| {
            Err(ServiceError::Import { source_name: words, source: Box::new(error) })
        })?;
        let volume = Volume { spec: VolumeResourceSpec { size_mib }, ..volume };
        let service = Arc::clone(self);
        to_its_end("volume", async move { service.keep_volume(volume, draft.path(), &path).await }).await
    }

    /// The file first, under an id that nobody knows: a machine that named the volume before would get an empty
    /// one.
    async fn keep_volume(&self, volume: Volume, draft: &Path, path: &Path) -> Result<Volume, ServiceError> {
        disk::publish(draft, path)?;
        match self.records.create(volume, Vec::new()).await {
            Ok(volume) => {
                self.tell(&volume, "created", None).await;
                Ok(volume)
            }
            Err(error) => {
                layout::remove_file(path)?;
                Err(error)
            }
        }
    }

    /// Deletes a volume that no machine names.
    pub async fn delete_volume(&self, name: &str) -> Result<(), ServiceError> {
        // No machine can be recorded meanwhile.
        let _placement = self.placement.lock().await;
        let volume: Volume = self.find(name).await?;
        if let Some(user) = volume.status.used_by.first() {
            let message = format!("Volume {} is used by machine {user}", volume.metadata.name);
            return Err(ServiceError::Conflict { message });
        }
        self.records.delete(&volume, Vec::new()).await?;
        layout::remove_file(&self.layout.volume(&volume.metadata.id))?;
        self.tell(&volume, "deleted", None).await;
        Ok(())
    }

    /// The disk of a volume; both are made when there are none.
    pub(super) async fn volume_disk(&self, name: &str) -> Result<PathBuf, ServiceError> {
        let volume = match self.records.find::<Volume>(name).await {
            Err(ServiceError::NotFound { .. }) => {
                validate::name("name", name)?;
                match self.empty_volume(name.to_owned(), DEFAULT_SIZE_MIB).await {
                    Err(ServiceError::Exists { .. }) => self.records.find(name).await?,
                    other => other?,
                }
            }
            other => other?,
        };
        self.ensure_volume_file(&volume).await
    }

    async fn ensure_volume_file(&self, volume: &Volume) -> Result<PathBuf, ServiceError> {
        let path = self.layout.volume(&volume.metadata.id);
        if !path.exists() {
            disk::make_ext4(&path, volume.spec.size_mib).await?;
        }
        Ok(path)
    }

    /// The ids of the machines that name a volume.
    pub(super) async fn users_of(&self, name: &str) -> Result<Vec<String>, ServiceError> {
        let machines = self.records.list::<Machine>().await?.items;
        let users =
            machines.iter().filter(|machine| machine.spec.volumes.iter().any(|volume| volume.name == name));
        Ok(users.map(|machine| machine.metadata.id.clone()).collect())
    }

    /// Removes files of volumes that have no record.
    pub(super) async fn sweep_volumes(&self) -> Result<(), ServiceError> {
        let volumes = self.records.list::<Volume>().await?.items;
        for name in layout::names_in(&self.layout.volumes()) {
            let id = name.strip_suffix(".ext4");
            if !volumes.iter().any(|volume| id == Some(volume.metadata.id.as_str())) {
                layout::remove_file(&self.layout.volumes().join(name))?;
            }
        }
        Ok(())
    }
}
