//! What a guest is told at its start: words on the kernel's command line, files in the initramfs.

use serde::{Deserialize, Serialize};

use crate::agent::CreateContainer;

/// `bulkhead.mode=agent`: serve on vsock and do nothing unasked. Without it an appliance starts by itself.
pub const MODE: &str = "bulkhead.mode";

/// `bulkhead.net=MAC,ADDRESS/PREFIX,GATEWAY,RESOLVER`: the interface with that MAC gets the address, the
/// default route and the resolver (IPv4). Repeated for further interfaces; GATEWAY and RESOLVER may be empty.
pub const NET: &str = "bulkhead.net";

/// `bulkhead.hostname=NAME`: the guest's host name.
pub const HOSTNAME: &str = "bulkhead.hostname";

/// Where the initramfs lists the kernel modules, one path a line, in the order in which to insert them.
pub const MODULES_ORDER: &str = "/bulkhead/modules.order";

/// Where the initramfs lists kernel modules that are inserted only when something needs them: `NEED PATH` a line, those
/// of one need in the order in which to insert them. A file system's need is its name.
pub const MODULES_LATER: &str = "/bulkhead/modules.later";

/// Where an appliance's initramfs keeps its [`Autostart`].
pub const AUTOSTART: &str = "/bulkhead/autostart.json";

/// What an appliance starts by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Autostart {
    /// The container, made and started as soon as the guest is ready.
    pub container: CreateContainer,
}
