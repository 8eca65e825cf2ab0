//! `RateLimiter` and `TokenBucket`: how much a device may do in which time.

use serde::{Deserialize, Serialize};

/// The limits of one device in one direction. Over the API, a bucket that is not named stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RateLimiter {
    /// Bytes.
    #[serde(default)]
    pub bandwidth: Option<TokenBucket>,
    /// Requests, or frames.
    #[serde(default)]
    pub ops: Option<TokenBucket>,
}

/// A store of tokens that fills at a constant rate. One whose size or time is 0 limits nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenBucket {
    /// How many tokens it holds. It starts full.
    pub size: u64,
    /// Tokens that are there once, before the bucket's own are touched.
    #[serde(default)]
    pub one_time_burst: Option<u64>,
    /// How many milliseconds it takes to fill.
    pub refill_time: u64,
}

impl RateLimiter {
    /// Takes over the buckets that `change` names.
    pub fn update(&mut self, change: &RateLimiter) {
        self.bandwidth = change.bandwidth.or(self.bandwidth);
        self.ops = change.ops.or(self.ops);
    }
}
