//! Drives and files as memory: opened for a machine, and changed while it runs.

use super::builder::BuildError;
use super::controller::{ControlError, Controller};
use crate::config::{CacheType, Drive, DriveChange, IoEngine, MachineSpec};
use crate::drive::RawDrive;
use crate::metrics::Registry;
use crate::virtio::block::{BlockDevice, BlockSpec};

/// The drive that an appliance's own disk is, unless the configuration names that disk itself.
const APPLIANCE_DRIVE: &str = "appliance";

/// The drives in the guest's order: the root device first, then as configured.
pub(super) fn drives(spec: &MachineSpec) -> Vec<Drive> {
    let mut drives = spec.drives.clone();
    drives.sort_by_key(|drive| !drive.is_root_device);
    let appliance = spec.boot_source.as_ref().and_then(|source| source.appliance.as_ref());
    if let Some(path) = appliance
        && !drives.iter().any(|drive| drive.path_on_host.as_ref() == Some(path))
    {
        drives.push(Drive::read_only(APPLIANCE_DRIVE, path.clone()));
    }
    drives
}

/// Opens a drive's file and makes its device.
pub(super) fn open_drive(drive: &Drive, metrics: &Registry) -> Result<BlockDevice, BuildError> {
    let refused =
        |error: Box<dyn std::error::Error + Send + Sync>| BuildError::Device(drive.drive_id.clone(), error);
    let raw = open_file(drive).map_err(|error| refused(error.into()))?;
    let spec = BlockSpec {
        read_only: drive.is_read_only.unwrap_or(false),
        flush: drive.cache_type == CacheType::Writeback,
        uring: drive.io_engine == IoEngine::Async,
        limits: drive.rate_limiter.unwrap_or_default(),
    };
    let metrics = metrics.device_group("block", &drive.drive_id);
    BlockDevice::new(&drive.drive_id, raw, spec, metrics).map_err(|error| refused(error.into()))
}

fn open_file(drive: &Drive) -> Result<RawDrive, crate::drive::DriveError> {
    let path = drive.path_on_host.clone().unwrap_or_default();
    RawDrive::open(&path, drive.is_read_only.unwrap_or(false))
}

impl Controller {
    /// Changes a drive of a machine that runs. The new file is opened and checked first; if that fails
    /// nothing changes.
    pub fn change_drive(&self, change: DriveChange) -> Result<(), ControlError> {
        self.change_running(|spec, machine| {
            let drive = spec.drive_mut(&change.drive_id)?;
            let Some(handle) = machine.handles().drives.get(&change.drive_id) else {
                return Err(ControlError::NoDevice(change.drive_id));
            };
            let mut changed = drive.clone();
            changed.update(change.clone());
            let file = change.path_on_host.is_some().then(|| open_file(&changed)).transpose();
            let file = file.map_err(|error| {
                handle.count_refused();
                ControlError::Device(change.drive_id.clone(), error.into())
            })?;
            if let Some(file) = file {
                handle.change_file(file);
            }
            if let Some(limits) = &change.rate_limiter {
                handle.change_limits(limits);
            }
            *drive = changed;
            Ok(())
        })
    }
}
