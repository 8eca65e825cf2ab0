//! The documents of an image: index, manifest, configuration (OCI image specification 1.1), and what
//! `docker save` writes. Unknown properties are ignored, as the specification demands.

use std::collections::BTreeMap;

use bulkhead_protocol::image::ImageConfig;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The annotation of an index that tells an image's tag.
pub(crate) const TAG: &str = "org.opencontainers.image.ref.name";

/// An index or a manifest: which of the two, its own properties tell.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document {
    pub schema_version: Option<u32>,
    pub media_type: Option<String>,
    pub manifests: Option<Vec<Descriptor>>,
    pub config: Option<Descriptor>,
    pub layers: Option<Vec<Descriptor>>,
    /// Version 1 of Docker's manifests.
    pub fs_layers: Option<IgnoredAny>,
}

/// Points to a blob.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub media_type: Option<String>,
    pub digest: String,
    pub size: u64,
    #[serde(default)]
    pub platform: Option<Platform>,
    #[serde(default)]
    pub annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    /// The tag that an index gives it.
    pub(crate) fn tag(&self) -> Option<&str> {
        self.annotations.as_ref()?.get(TAG).map(String::as_str)
    }
}

/// What an image runs on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Platform {
    pub architecture: String,
    pub os: String,
}

/// The configuration.
#[derive(Debug, Deserialize)]
pub(crate) struct Configuration {
    pub architecture: String,
    pub os: String,
    #[serde(default)]
    pub config: Option<Execution>,
    pub rootfs: RootFs,
}

/// How to run the image.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Execution {
    user: Option<String>,
    exposed_ports: Option<BTreeMap<String, IgnoredAny>>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    volumes: Option<BTreeMap<String, IgnoredAny>>,
    working_dir: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    stop_signal: Option<String>,
}

/// The layers, uncompressed.
#[derive(Debug, Deserialize)]
pub(crate) struct RootFs {
    #[serde(default)]
    pub diff_ids: Option<Vec<String>>,
}

/// An element of `manifest.json` in a docker-archive.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SavedImage {
    pub config: String,
    #[serde(default)]
    pub repo_tags: Option<Vec<String>>,
    #[serde(default)]
    pub layers: Option<Vec<String>>,
}

impl From<Execution> for ImageConfig {
    fn from(execution: Execution) -> Self {
        let keys = |map: Option<BTreeMap<String, IgnoredAny>>| map.into_iter().flatten().map(|(key, _)| key);
        Self {
            entrypoint: execution.entrypoint.unwrap_or_default(),
            cmd: execution.cmd.unwrap_or_default(),
            env: execution.env.unwrap_or_default(),
            working_dir: execution.working_dir.unwrap_or_default(),
            user: execution.user.unwrap_or_default(),
            exposed_ports: keys(execution.exposed_ports).collect(),
            volumes: keys(execution.volumes).collect(),
            labels: execution.labels.unwrap_or_default(),
            stop_signal: execution.stop_signal.unwrap_or_default(),
        }
    }
}
