//! What both halves of the bench agree on.

use serde::{Deserialize, Serialize};

use super::super::guest::Guest;
use super::super::subject::Subject;

/// A guest's memory in MiB: enough for a stock kernel and a shell.
pub const MEMORY: u32 = 96;
/// The lab's memory in MiB: fifty machines of QEMU's take 8 GiB, since it reads the kernel into memory of its own.
pub const LAB_MEMORY: u32 = 12 << 10;
/// What machines of the daemon's are called in the table.
pub const DAEMON: &str = "bulkhead run";
/// The folder that becomes the image of the daemon's machines.
pub const ROOT: &str = "root";

/// What the runner does.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Who is measured.
    pub subjects: Vec<Subject>,
    /// Whether the daemon is, too.
    pub daemon: bool,
    /// How many machines there are at once.
    pub machines: u16,
    /// What they are.
    pub guest: Guest,
}
