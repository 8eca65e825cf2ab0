//! placeholder
use std::path::Path;
/// .
#[derive(Debug, thiserror::Error)]
#[error("none")]
pub struct ApplianceError;
/// .
pub struct Parts {
    /// .
    pub kernel: Vec<u8>,
    /// .
    pub initramfs: Vec<u8>,
    /// .
    pub boot_args: Option<String>,
}
/// .
pub fn open(_p: &Path) -> Result<Parts, ApplianceError> {
    Err(ApplianceError)
}
