//! `pmem`: files as memory of the guest.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::drive::update_limits;
use super::{ConfigError, RateLimiter, check_id};

/// A file that the guest sees as persistent memory (virtio-pmem). The guest's names are `pmem0`, `pmem1`, ...
/// in the order of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Pmem {
    /// Its name.
    pub id: String,
    /// The file or block device.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub path_on_host: PathBuf,
    /// The root file system is on it: the command line says so.
    #[serde(default)]
    pub root_device: bool,
    /// The guest cannot change the file.
    #[serde(default)]
    pub read_only: bool,
    /// How many flushes there may be in which time; each counts the file's whole size in bytes.
    #[serde(default)]
    pub rate_limiter: Option<RateLimiter>,
}

impl Pmem {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        check_id("pmem", &self.id)
    }

    /// Takes over what has been changed.
    pub fn update(&mut self, change: &PmemChange) {
        update_limits(&mut self.rate_limiter, change.rate_limiter);
    }
}

/// What may be changed while the guest runs (Firecracker's `PartialPmem`).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = PartialPmem))]
pub struct PmemChange {
    /// Which one.
    pub id: String,
    /// Other limits.
    #[serde(default)]
    pub rate_limiter: Option<RateLimiter>,
}
