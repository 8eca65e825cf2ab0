//! What both halves of the bench agree on.

use serde::{Deserialize, Serialize};

use super::super::guest::Guest;
use super::super::subject::Subject;

/// The line that the guest prints when it can be reached.
pub const MARKER: &str = "bench: the network is up";
/// The guest's memory in MiB.
pub const MEMORY: u32 = 256;
/// The guest's MAC address.
pub const MAC: &str = "06:00:00:00:00:63";
/// The host's address on the bridge.
pub const HOST: &str = "198.18.0.1";
/// The guest's; both are of the range for benches (RFC 2544).
const GUEST: &str = "198.18.0.2/24";
/// Where the load is asked for.
pub const PORT: u16 = 5001;

/// What the runner does.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Who is measured.
    pub subjects: Vec<Subject>,
    /// The names of those in whose place the host's kernel serves the queues.
    pub vhost: Vec<String>,
    /// How many bytes are sent each way.
    pub bytes: u64,
    /// How many requests are made.
    pub requests: u64,
    /// What they start.
    pub guest: Guest,
}

/// The guest's first process: the modules, the interface, and a load for each line that is typed.
pub fn init_script() -> String {
    format!(
        "#!/bin/busybox sh\n\
         export PATH=/bin; busybox --install -s /bin\n\
         while read module; do insmod /$module 2>/dev/null || insmod $module; done </bulkhead/modules.order\n\
         ip link set lo up; ip addr add {GUEST} dev eth0; ip link set eth0 up\n\
         stty -echo\n\
         echo '{MARKER}'\n\
         while read -r load count; do /load bench-load {HOST}:{PORT} $load $count; done\n"
    )
}
