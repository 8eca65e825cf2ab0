//! A volume: a persistent disk that outlives machines.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::metadata::{Metadata, resource};

/// A persistent disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Who it is.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: VolumeResourceSpec,
    /// What is.
    pub status: VolumeStatus,
}

resource!(Volume, "volumes", "volume");

/// What is wanted of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeResourceSpec {
    /// The disk's size in MiB. The file is sparse.
    pub size_mib: u32,
}

/// What a volume is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeStatus {
    /// The ids of the machines that name it.
    pub used_by: Vec<String>,
}

fn default_size() -> u32 {
    1024
}

/// Make a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateVolume {
    /// Its name.
    #[schema(max_length = 63, pattern = "^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$")]
    pub name: String,
    /// The disk's size in MiB, 16 to 1048576. With a source it is the source's size that counts.
    #[serde(default = "default_size")]
    #[schema(minimum = 16, maximum = 1_048_576, default = 1024)]
    pub size_mib: u32,
    /// Take this disk instead of an empty one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub source: Option<VolumeSource>,
}

/// A disk with an ext4 file system, to be made a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeSource {
    /// A file of the host, by its absolute path, or an address: `https://` or `http://`.
    #[schema(max_length = 4096, pattern = "^(/|https://|http://)[a-zA-Z0-9_./:@+%-]+$")]
    pub location: String,
    /// In which format it is. It is never guessed: whoever wrote the disk could choose.
    pub format: DiskFormat,
    /// Whether it is compressed as a whole, with gzip, xz or zstd.
    #[serde(default)]
    pub compressed: bool,
    /// The SHA-256 that it must have; an address needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[0-9a-fA-F]{64}$", nullable = false)]
    pub sha256: Option<String>,
}

/// How a disk is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DiskFormat {
    /// The disk's bytes.
    Raw,
    /// QEMU's format.
    Qcow2,
}
