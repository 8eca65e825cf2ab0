//! Volumes: ext4 disks that outlive machines.

use std::path::{Path, PathBuf};

use super::error::ServiceError;
use super::model::{CreateVolume, Machine, Metadata, Volume, VolumeResourceSpec, VolumeSource, VolumeStatus};
use super::{Service, clock, machines::validate, new_id, volume_source};
use crate::host::{disk, layout};

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
    pub async fn create_volume(&self, request: CreateVolume) -> Result<Volume, ServiceError> {
        validate::name("name", &request.name)?;
        validate::within("size_mib", u64::from(request.size_mib), MIN_SIZE_MIB, MAX_SIZE_MIB)?;
        if let Some(source) = request.source {
            return self.import_volume(request.name, source).await;
        }
        let volume = new_volume(request.name, request.size_mib);
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
    async fn import_volume(&self, name: String, source: VolumeSource) -> Result<Volume, ServiceError> {
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
        let draft = path.with_extension("new");
        let words = source.location.clone();
        let made = {
            let draft = draft.clone();
            tokio::task::spawn_blocking(move || volume_source::take(&source, &draft)).await.unwrap_or_else(
                |error| Err(ServiceError::Import { source_name: words, source: Box::new(error) }),
            )
        };
        let kept = match made {
            Ok(size_mib) => {
                let volume = Volume { spec: VolumeResourceSpec { size_mib }, ..volume };
                self.keep_volume(volume, &draft, &path).await
            }
            Err(error) => Err(error),
        };
        if kept.is_err() {
            layout::remove_file(&draft)?;
        }
        kept
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
                let request =
                    CreateVolume { name: name.to_owned(), size_mib: DEFAULT_SIZE_MIB, source: None };
                match self.create_volume(request).await {
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
