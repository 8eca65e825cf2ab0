//! Fields that Firecracker has and this VMM has not yet.

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// Any value: it is read only to be refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NotYet(serde_json::Value);

/// Refuses a field that is there. `null` and an empty list ask for nothing.
pub(super) fn refuse(name: &str, value: Option<&NotYet>) -> Result<(), ConfigError> {
    match value {
        Some(value) if value.asks() => Err(ConfigError::NotYet(name.to_owned())),
        _ => Ok(()),
    }
}

impl NotYet {
    /// Whether it asks for anything.
    pub(super) fn asks(&self) -> bool {
        !self.0.is_null() && self.0 != serde_json::json!([])
    }
}
