//! Drives and files as memory: opened for a machine, and changed while it runs.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::builder::BuildError;
use super::controller::{ControlError, Controller};
use crate::boot::command_line::Root;
use crate::config::{CacheType, Drive, DriveChange, IoEngine, MachineSpec, PmemChange};
use crate::drive::{DriveError, Medium, Overlay, RawDrive};
use crate::memory::{FileMapping, layout};
use crate::metrics::Registry;
use crate::virtio::block::{BlockDevice, BlockSpec};
use crate::virtio::pmem::{PmemDevice, PmemRegion};

/// Why a device does not open: each kind has errors of its own.
type Cause = Box<dyn std::error::Error + Send + Sync>;

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
    let refused = |error: Cause| BuildError::Device(drive.drive_id.clone(), error);
    let medium = open_medium(drive).map_err(|error| refused(error.into()))?;
    let spec = BlockSpec {
        read_only: drive.is_read_only.unwrap_or(false),
        flush: drive.cache_type == CacheType::Writeback,
        uring: drive.io_engine == IoEngine::Async,
        limits: drive.rate_limiter.unwrap_or_default(),
        queues: drive.queues.unwrap_or(1),
    };
    let metrics = metrics.device_group("block", &drive.drive_id);
    BlockDevice::new(&drive.drive_id, medium, spec, metrics).map_err(|error| refused(error.into()))
}

/// Maps the files of `pmem`, one above the other in the order of the configuration, and makes their devices.
pub(super) fn open_pmem(spec: &MachineSpec, metrics: &Registry) -> Result<Vec<PmemDevice>, BuildError> {
    let mut free = layout::above_ram(spec.machine_config.mem_size_mib << 20);
    let mut devices = Vec::new();
    for pmem in &spec.pmem {
        let refused = |error: Cause| BuildError::Device(pmem.id.clone(), error);
        let path = &pmem.path_on_host;
        let raw = RawDrive::open(path, pmem.read_only).map_err(|error| refused(error.into()))?;
        let mapping = FileMapping::new(raw.file(), raw.size(), pmem.read_only)
            .map_err(|source| refused(MapError { path: path.clone(), source }.into()))?;
        let region = PmemRegion { address: free.start, mapping: Arc::new(mapping) };
        let length = region.mapping.length();
        free.start = free.start.checked_add(length).ok_or(BuildError::PmemSpace)?;
        if free.start > free.end {
            return Err(BuildError::PmemSpace);
        }
        let limits = pmem.rate_limiter.unwrap_or_default();
        let group = metrics.device_group("pmem", &pmem.id);
        let device = PmemDevice::new(&pmem.id, region, raw, &limits, group);
        devices.push(device.map_err(|error| refused(error.into()))?);
    }
    Ok(devices)
}

/// A file that cannot be memory.
#[derive(Debug, thiserror::Error)]
#[error("Cannot map {path} as memory")]
struct MapError {
    path: PathBuf,
    source: io::Error,
}

/// A drive's base changes with its overlay, or not at all.
#[derive(Debug, thiserror::Error)]
#[error(
    "A drive that was made with an overlay gets both path_on_host and overlay, any other drive no overlay"
)]
struct ChangeError;

/// What the kernel is told of the root device, if the configuration names one.
pub(super) fn root(spec: &MachineSpec) -> Option<Root> {
    let drive = spec.drives.iter().find(|drive| drive.is_root_device).map(|drive| Root {
        device: match &drive.partuuid {
            Some(uuid) => format!("PARTUUID={uuid}"),
            None => "/dev/vda".to_owned(),
        },
        read_only: drive.is_read_only.unwrap_or(false),
    });
    let pmem = (0..).zip(&spec.pmem).find(|(_, pmem)| pmem.root_device).map(|(index, pmem): (u32, _)| Root {
        device: format!("/dev/pmem{index}"),
        read_only: pmem.read_only,
    });
    drive.or(pmem)
}

fn open_medium(drive: &Drive) -> Result<Medium, DriveError> {
    let path = drive.path_on_host.clone().unwrap_or_default();
    let read_only = drive.is_read_only.unwrap_or(false);
    match &drive.overlay {
        Some(overlay) => {
            let durable = drive.cache_type == CacheType::Writeback;
            Overlay::open(overlay, &path, read_only, durable).map(Medium::from)
        }
        None => RawDrive::open(&path, read_only).map(Medium::from),
    }
}

impl Controller {
    /// Takes a drive of a machine that has not started. A file that does not open is refused now already.
    pub fn set_drive(&self, drive: Drive) -> Result<(), ControlError> {
        self.spec().set_drive(drive.clone())?;
        if drive.path_on_host.is_some() {
            open_medium(&drive).map_err(|error| BuildError::Device(drive.drive_id.clone(), error.into()))?;
        }
        self.configure(|spec| spec.set_drive(drive))
    }

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
            let refused = |cause: Cause| {
                handle.count_refused();
                ControlError::Device(change.drive_id.clone(), cause)
            };
            if change.overlay.is_some() != (change.path_on_host.is_some() && drive.overlay.is_some()) {
                return Err(refused(ChangeError.into()));
            }
            let medium = change.path_on_host.is_some().then(|| open_medium(&changed)).transpose();
            let medium = medium.map_err(|error| refused(error.into()))?;
            if let Some(medium) = medium {
                handle.change_file(medium);
            }
            if let Some(limits) = &change.rate_limiter {
                handle.change_limits(limits);
            }
            *drive = changed;
            Ok(())
        })
    }

    /// Changes a file as memory of a machine that runs.
    pub fn change_pmem(&self, change: PmemChange) -> Result<(), ControlError> {
        self.change_running(|spec, machine| {
            let pmem = spec.pmem_mut(&change.id)?;
            let Some(handle) = machine.handles().pmem.get(&change.id) else {
                return Err(ControlError::NoDevice(change.id));
            };
            if let Some(limits) = &change.rate_limiter {
                handle.change_limits(limits);
            }
            pmem.update(&change);
            Ok(())
        })
    }
}
