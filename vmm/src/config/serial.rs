//! `serial`: where the guest's console goes.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::TokenBucket;

/// The serial port's output. Its input is standard input.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = SerialDevice))]
pub struct Serial {
    /// A file or a named pipe; standard output when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub serial_out_path: Option<PathBuf>,
    /// How many bytes in which time; what is more is dropped and counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<TokenBucket>,
}
