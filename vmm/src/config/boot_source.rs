//! `boot-source`: what boots.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{ConfigError, NotYet, not_yet};

/// A kernel with an initramfs, or an appliance that brings both.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BootSource {
    /// An uncompressed ELF kernel or a bzImage.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub kernel_image_path: Option<PathBuf>,
    /// The initramfs.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub initrd_path: Option<PathBuf>,
    /// The kernel's command line; Firecracker's default when absent.
    #[serde(default)]
    pub boot_args: Option<String>,
    /// A disk with kernel, initramfs and manifest, instead of the two paths above. An addition to
    /// Firecracker's API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub appliance: Option<PathBuf>,
    #[serde(default, skip_serializing)]
    #[cfg_attr(feature = "openapi", schema(ignore))]
    key: Option<NotYet>,
}

impl BootSource {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        not_yet::refuse("boot-source.key", self.key.as_ref())?;
        let refused = |message: &str| Err(ConfigError::invalid("boot-source", message));
        match (&self.kernel_image_path, &self.appliance) {
            (None, None) => refused("kernel_image_path is missing"),
            (Some(_), Some(_)) => refused("kernel_image_path and appliance exclude each other"),
            (None, Some(_)) if self.initrd_path.is_some() => {
                refused("initrd_path and appliance exclude each other")
            }
            _ => Ok(()),
        }
    }
}
