//! `serial` and `console`: where the guest's console goes, and a second way to it.

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

/// A virtio console (`hvc0`), one exit a write where the serial port takes one a byte. Its output goes where the
/// serial port's goes; the input is its own then, not the serial port's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = ConsoleDevice))]
pub struct Console {}
