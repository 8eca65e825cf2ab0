//! `drives`: block devices.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{ConfigError, NotYet, check_id, not_yet};

/// What a guest's flush means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CacheType {
    /// A flush is not offered: fast, and unsafe when the host fails.
    #[default]
    Unsafe,
    /// A flush reaches the host's disk.
    Writeback,
}

/// How requests reach the host. Both words are taken; it is this VMM's own affair.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum IoEngine {
    /// Firecracker: a system call a request.
    #[default]
    Sync,
    /// Firecracker: `io_uring`.
    Async,
}

/// A block device backed by a file, byte for byte (raw).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drive {
    /// Its name; the first 20 bytes are the disk's serial number in the guest.
    pub drive_id: String,
    /// The root file system is on it: the command line says so, and it is the guest's `vda`.
    pub is_root_device: bool,
    /// The root partition's id, for a root device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partuuid: Option<String>,
    /// The file or block device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_on_host: Option<PathBuf>,
    /// Refuse writes.
    #[serde(default)]
    pub is_read_only: Option<bool>,
    /// What a flush means.
    #[serde(default)]
    pub cache_type: CacheType,
    /// How requests reach the host.
    #[serde(default)]
    pub io_engine: IoEngine,
    #[serde(default, skip_serializing)]
    rate_limiter: Option<NotYet>,
    #[serde(default, skip_serializing)]
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
            is_read_only: Some(true),
            cache_type: CacheType::default(),
            io_engine: IoEngine::default(),
            rate_limiter: None,
            socket: None,
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        check_id("drive", &self.drive_id)?;
        let field = |name: &str| format!("drives.{name} (drive {})", self.drive_id);
        not_yet::refuse(&field("rate_limiter"), self.rate_limiter.as_ref())?;
        not_yet::refuse(&field("socket"), self.socket.as_ref())?;
        let section = || format!("drive {}", self.drive_id);
        if self.path_on_host.is_none() {
            return Err(ConfigError::invalid(section(), "path_on_host is missing"));
        }
        let fine = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
        if self.partuuid.as_ref().is_some_and(|uuid| uuid.len() > 36 || !uuid.bytes().all(fine)) {
            return Err(ConfigError::invalid(section(), "partuuid is not a partition's id"));
        }
        Ok(())
    }
}
