//! `drives`: block devices.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

use super::{ConfigError, NotYet, RateLimiter, check_id, not_yet};

/// What a guest's flush means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum CacheType {
    /// A flush is not offered: fast, and unsafe when the host fails.
    #[default]
    Unsafe,
    /// A flush reaches the host's disk.
    Writeback,
}

/// How requests reach the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum IoEngine {
    /// A system call a request, one after the other.
    #[default]
    Sync,
    /// `io_uring`: many at a time, where the host allows it.
    Async,
}

/// A block device backed by a file, byte for byte (raw), or by such a file and an overlay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Drive {
    /// Its name; the first 20 bytes are the disk's serial number in the guest.
    pub drive_id: String,
    /// The root file system is on it: the command line says so, and it is the guest's `vda`.
    pub is_root_device: bool,
    /// The root partition's id, for a root device.
    #[serde(default)]
    pub partuuid: Option<String>,
    /// The file or block device.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub path_on_host: Option<PathBuf>,
    /// A qcow2 file that takes what the guest writes, so that `path_on_host` is only read and many machines can
    /// share it: one that has `path_on_host` as its backing file, in the format raw, as
    /// `qemu-img create -f qcow2 -b BASE -F raw OVERLAY` makes it. An addition to Firecracker's API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub overlay: Option<PathBuf>,
    /// Refuse writes.
    #[serde(default)]
    pub is_read_only: Option<bool>,
    /// What a flush means.
    #[serde(default)]
    pub cache_type: CacheType,
    /// How requests reach the host.
    #[serde(default, deserialize_with = "or_default")]
    pub io_engine: IoEngine,
    /// How much it may do in which time.
    #[serde(default)]
    pub rate_limiter: Option<RateLimiter>,
    /// Not Firecracker's: how many queues it has, each served by a thread of its own: from 1, which it is when not
    /// given, to the number of vCPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<u8>,
    /// A vhost-user back end's socket, instead of a file. Refused for now.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    socket: Option<NotYet>,
}

impl Drive {
    /// A drive that no configuration names: an appliance's own disk.
    pub fn read_only(drive_id: &str, path: PathBuf) -> Self {
        Self {
            drive_id: drive_id.to_owned(),
            is_root_device: false,
            partuuid: None,
            path_on_host: Some(path),
            overlay: None,
            is_read_only: Some(true),
            cache_type: CacheType::default(),
            io_engine: IoEngine::default(),
            rate_limiter: None,
            queues: None,
            socket: None,
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        check_id("drive", &self.drive_id)?;
        let field = |name: &str| format!("drives.{name} (drive {})", self.drive_id);
        not_yet::refuse(&field("socket"), self.socket.as_ref())?;
        let section = || format!("drive {}", self.drive_id);
        if self.path_on_host.is_none() {
            return Err(ConfigError::invalid(section(), "path_on_host is missing"));
        }
        if self.overlay.is_some() && self.io_engine == IoEngine::Async {
            return Err(ConfigError::invalid(section(), "io_engine is Sync for a drive with an overlay"));
        }
        if self.partuuid.as_ref().is_some_and(|uuid| !is_partition(uuid)) {
            return Err(ConfigError::invalid(section(), "partuuid is not a partition's id"));
        }
        Ok(())
    }

    /// Refuses queues that no vCPU would use.
    pub fn check_queues(&self, vcpus: u8) -> Result<(), ConfigError> {
        match self.queues {
            Some(queues) if !(1..=vcpus).contains(&queues) => {
                let message = format!("queues is {queues}, not 1 to {vcpus}, the number of vCPUs");
                Err(ConfigError::invalid(format!("drive {}", self.drive_id), message))
            }
            _ => Ok(()),
        }
    }

    /// Takes over what has been changed.
    pub fn update(&mut self, change: DriveChange) {
        self.path_on_host = change.path_on_host.or(self.path_on_host.take());
        self.overlay = change.overlay.or(self.overlay.take());
        update_limits(&mut self.rate_limiter, change.rate_limiter);
    }
}

/// What may be changed of a drive while the guest runs (Firecracker's `PartialDrive`). What is not named
/// stays.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = PartialDrive))]
pub struct DriveChange {
    /// Which drive.
    pub drive_id: String,
    /// Another file or block device.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub path_on_host: Option<PathBuf>,
    /// Another overlay, of the file that `path_on_host` names; only for a drive that has one.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub overlay: Option<PathBuf>,
    /// Other limits.
    #[serde(default)]
    pub rate_limiter: Option<RateLimiter>,
}

/// Takes over the buckets of a change.
pub(super) fn update_limits(limits: &mut Option<RateLimiter>, change: Option<RateLimiter>) {
    if let Some(change) = change {
        limits.get_or_insert_default().update(&change);
    }
}

/// A UUID, or the shorter id of an MBR's partition; Linux counts on from it with `/PARTNROFF=N`.
fn is_partition(text: &str) -> bool {
    let (uuid, offset) = text.split_once("/PARTNROFF=").unwrap_or((text, "0"));
    let fine = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    let number = offset.strip_prefix('-').unwrap_or(offset);
    (1..=36).contains(&uuid.len())
        && uuid.bytes().all(fine)
        && (1..=3).contains(&number.len())
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// Takes `null` for the default, as Firecracker does.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}
