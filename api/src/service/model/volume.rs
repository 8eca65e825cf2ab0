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
    /// The disk's size in MiB, 16 to 1048576.
    #[serde(default = "default_size")]
    #[schema(minimum = 16, maximum = 1_048_576, default = 1024)]
    pub size_mib: u32,
}
