//! `vsock` and `entropy`: devices of which a machine has one.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{ConfigError, RateLimiter};

/// A socket device behind Unix sockets of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Vsock {
    /// The guest's context id, at least 3.
    #[cfg_attr(feature = "openapi", schema(minimum = 3))]
    pub guest_cid: u32,
    /// The socket that the host connects to; `PATH_PORT` is where the guest's connections go.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub uds_path: PathBuf,
    /// Firecracker has deprecated it; taken and of no effect.
    #[serde(default, skip_serializing_if = "shown_never")]
    vsock_id: Option<String>,
}

fn shown_never(_: &Option<String>) -> bool {
    true
}

impl Vsock {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.guest_cid < 3 || self.guest_cid == u32::MAX {
            let message = format!("guest_cid is {}, not 3 to 4294967294", self.guest_cid);
            return Err(ConfigError::invalid("vsock", message));
        }
        Ok(())
    }
}

/// A source of random bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = EntropyDevice))]
pub struct Entropy {
    /// How much of it in which time.
    #[serde(default)]
    pub rate_limiter: Option<RateLimiter>,
}
