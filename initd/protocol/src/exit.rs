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
        /// What it panicked of, in words of the VMM's: a part of a sentence.
        #[serde(default)]
        cause: String,
        /// The last lines of the console, at most 4 KiB, as the guest wrote them.
        console: String,
    },
    /// The guest reset itself.
    Reset,
    /// The guest's processor met a fault that it had no handler for, and none for that either: what it ran was
    /// no kernel, or a damaged one.
    TripleFault {
        /// The last lines of the console, at most 4 KiB, as the guest wrote them.
        console: String,
    },
    /// A signal to the VMM ended the machine.
    Signal {
        /// Its number.
        number: i32,
        /// What the console says of why the guest stood still, where it does: a part of a sentence.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<String>,
        /// The last lines of the console, at most 4 KiB, as the guest wrote them.
        console: String,
    },
    /// The VMM could not start or go on.
    VmmError {
        /// The whole chain of causes.
        message: String,
    },
}
