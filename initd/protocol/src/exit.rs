//! How a machine says why it ended.

use serde::{Deserialize, Serialize};

/// The exit device's I/O port. A guest writes one byte, its status, before it powers off. An addition to
/// Firecracker's machine; a write has no other effect.
pub const PORT: u16 = 0x0bd0;

/// The record that `bulkhead-vmm` writes as one line of JSON on the descriptor it is given
/// (`--exit-record-fd`), just before it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ExitRecord {
    /// The guest wrote its status to the exit device and powered off.
    GuestExit {
        /// What it wrote.
        code: u8,
    },
    /// The guest powered off and had written no status.
    PowerOff,
    /// The guest kernel panicked.
    Panic {
        /// The last lines of the console, at most 4 KiB.
        console: String,
    },
    /// The guest reset itself (reboot, triple fault).
    Reset,
    /// The VMM could not start or go on.
    VmmError {
        /// The whole chain of causes.
        message: String,
    },
}
