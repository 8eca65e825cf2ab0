//! What both halves of the bench agree on.

use serde::{Deserialize, Serialize};

use super::super::guest::Guest;
use super::super::subject::{Kind, Subject};

/// The line that the guest's first process prints.
pub const MARKER: &str = "bench: init is up";
/// The guest's memory in MiB.
pub const MEMORY: u32 = 128;

/// The guest's command line, as `lab.md`'s baselines have it.
pub const KERNEL_LINE: &str = "console=ttyS0 panic=1 quiet loglevel=1 i8042.noaux i8042.nomux i8042.nopnp i8042.dumbkbd \
    8250.nr_uarts=1 cryptomgr.notests";

/// What the runner does.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Who is measured.
    pub subjects: Vec<Subject>,
    /// How many starts are timed after the first.
    pub runs: u8,
    /// What they start, by the kernel's release.
    pub guests: Vec<(String, Guest)>,
}

/// What the guest is told to end the machine. Firecracker's knows no power-off, and its kernel's own way to a
/// reset is long; QEMU's microvm has no keyboard controller to ask for one.
pub fn last_words(kind: Kind) -> &'static str {
    match kind {
        Kind::Firecracker => "reset",
        Kind::Bulkhead | Kind::QemuMicrovm => "poweroff",
    }
}

/// The guest's first process: says that it is there, waits for a line, and ends the machine in the way that
/// the line names: by a power-off, or by a reset that goes straight to the keyboard controller.
pub fn init_script() -> String {
    format!(
        "#!/bin/busybox sh\n\
         echo '{MARKER}'\n\
         read line\n\
         [ \"$line\" != poweroff ] || /bin/busybox poweroff -f\n\
         /bin/busybox mount -t sysfs sysfs /sys\n\
         echo kbd >/sys/kernel/reboot/type\n\
         /bin/busybox reboot -f\n"
    )
}
