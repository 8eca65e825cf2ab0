//! The balloon (virtio 1.2 section 5.5): memory that the guest does without goes back to the host.
//!
//! The guest puts pages into the balloon until it is as large as asked for, takes them out again, tells its
//! statistics, and names pages that it does not use: all the time (reporting) or when asked to (hinting).
//!
//! `pages` is what goes back, `statistics` what the guest says of itself, `state` what the device, its worker
//! and the API share, `worker` the queues.

mod device;
mod pages;
mod state;
mod statistics;
mod worker;

pub use self::device::BalloonDevice;
pub use self::state::{BalloonError, BalloonHandle, BalloonStatistics, HintingStatus};

/// Feature bits (virtio 1.2 section 5.5.3), as masks.
mod feature {
    /// There is a queue for statistics.
    pub const STATISTICS: u64 = 1 << 1;
    /// The guest may take pages back when it runs out of memory.
    pub const DEFLATE_ON_OOM: u64 = 1 << 2;
    /// There is a queue for free pages that are asked for.
    pub const HINTING: u64 = 1 << 3;
    /// There is a queue for free pages that are told unasked.
    pub const REPORTING: u64 = 1 << 5;
}
