//! Volumes: ext4 disks that outlive machines.

use std::path::PathBuf;

use super::error::ServiceError;
use super::model::{CreateVolume, Machine, Metadata, Volume, VolumeResourceSpec, VolumeStatus};
use super::{Service, clock, machines::validate, new_id};
use crate::host::{disk, layout};

/// The size of a volume that a machine names and nobody made.
const DEFAULT_SIZE_MIB: u32 = 1024;

impl Service {
    /// Makes a volume.
    pub async fn create_volume(&self, request: CreateVolume) -> Result<Volume, ServiceError> {
        validate::name("name", &request.name)?;
        validate::within("size_mib", u64::from(request.size_mib), 16, 1_048_576)?;
        let volume = Volume {
            metadata: Metadata {
                id: new_id(),
                name: request.name,
                resource_version: 0,
                created_at: clock::now(),
            },
            spec: VolumeResourceSpec { size_mib: request.size_mib },
            status: VolumeStatus { used_by: Vec::new() },
        };
        // The record first: a file without a record is swept, a record without a file gets one when used.
        let volume = self.records.create(volume, Vec::new()).await?;
        if let Err(error) = self.ensure_volume_file(&volume).await {
            self.records.delete(&volume, Vec::new()).await?;
            return Err(error);
        }
        self.tell(&volume, "created", None).await;
        Ok(volume)
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
                let request = CreateVolume { name: name.to_owned(), size_mib: DEFAULT_SIZE_MIB };
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
