//! An image: one read-only file that machines share.

use std::fmt;

use bulkhead_protocol::image::ImageConfig;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::metadata::{Metadata, resource};

/// A container root or an appliance in the daemon's store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Who it is. The id is the SHA-256 of its root's manifest with the image's own name.
    pub metadata: Metadata,
    /// Where it came from.
    pub spec: ImageSpec,
    /// What it is.
    pub status: ImageStatus,
}

resource!(Image, "images", "image");

/// Where an image came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageSpec {
    /// As it was given.
    pub source: String,
}

/// What an image is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageStatus {
    /// `container-root` or `appliance`.
    pub kind: String,
    /// The file's size in bytes, also where other images share it.
    pub size: u64,
    /// How to run it: the part of the OCI image configuration that says so.
    #[schema(value_type = Object)]
    pub config: ImageConfig,
    /// Words for the kernel's command line, where it brings its own kernel.
    pub boot_args: Option<String>,
    /// What the reference meant in its registry, `sha256:DIGITS`, where it came from one.
    #[serde(default)]
    pub digest: Option<String>,
    /// What names the file, which all images with the same word share: the SHA-256 of what it was made from. Images
    /// of before there was this word have a file of their own.
    #[serde(default)]
    pub root: Option<String>,
}

impl Image {
    /// What names its file.
    pub fn root(&self) -> &str {
        self.status.root.as_deref().unwrap_or(&self.metadata.id)
    }
}

/// Make an image from a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportImage {
    /// `file:PATH` (a file made by bulkhead-image), `oci:DIR:TAG`, `oci-archive:FILE[:TAG]`,
    /// `docker-archive:FILE[:TAG]`, `dir:DIR` or `tar:FILE`; paths of the host, absolute. Or `docker://REFERENCE`,
    /// which is pulled from its registry. Or a root that is made on the host: `root:busybox[:FILE]`,
    /// `root:debian:SUITE[?include=A,B][&variant=minbase][&mirror=URL]`.
    #[schema(
        max_length = 4096,
        pattern = "^((file|oci|oci-archive|docker-archive|dir|tar|docker):/[a-zA-Z0-9_./:@+-]+|root:[a-zA-Z0-9_./:?&=,+-]+)$"
    )]
    pub source: String,
    /// The image's name; the one in its manifest where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255, pattern = "^[a-zA-Z0-9][a-zA-Z0-9_.:/@+-]{0,254}$", nullable = false)]
    pub name: Option<String>,
    /// For the registry of `docker://REFERENCE`. They are used once and kept nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub credentials: Option<RegistryCredentials>,
}

/// Who asks a registry, in Docker's words: a name and a password, or what a token server takes in their place.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegistryCredentials {
    /// The user, without a colon.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schema(max_length = 16384)]
    pub username: String,
    /// The password.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schema(max_length = 16384)]
    pub password: String,
    /// An identity token; where there is one, nothing else counts.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schema(max_length = 16384)]
    pub identity_token: String,
}

impl fmt::Debug for RegistryCredentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RegistryCredentials(secret)")
    }
}
