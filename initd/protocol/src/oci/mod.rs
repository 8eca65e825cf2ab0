//! The part of the OCI runtime specification 1.2 (`config.md`, `config-linux.md`) that `initd` obeys.
//!
//! Unknown properties are ignored, as the specification demands; invalid values are errors.

mod capabilities;
pub mod defaults;
mod hooks;
mod linux;
mod process;
mod resources;
mod seccomp;
mod state;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use capabilities::CAPABILITIES;
pub use hooks::{Hook, Hooks};
pub use linux::{Device, IdMapping, Linux, Namespace, NamespaceKind, Personality, TimeOffset};
pub use process::{Capabilities, ConsoleSize, IoPriority, Process, Rlimit, Scheduler, User};
pub use resources::{
    BlockIo, CpuLimit, DeviceRule, HugepageLimit, MemoryLimit, PidsLimit, RdmaLimit, Resources,
    ThrottleDevice, WeightDevice,
};
pub use seccomp::{Seccomp, SyscallArgument, SyscallRule};
pub use state::{State, Status};

/// `config.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    /// The specification's version, `1.x.y`.
    pub oci_version: String,
    /// What runs.
    pub process: Process,
    /// The root file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Root>,
    /// The UTS namespace's host name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The UTS namespace's NIS domain name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domainname: Option<String>,
    /// Mounted in this order.
    pub mounts: Vec<Mount>,
    /// Linux's own part.
    pub linux: Linux,
    /// Programs that the runtime runs on the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
    /// Free words; they never become commands or paths.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// The annotation that asks, by `true`, for a first process that is not the program: one that hands signals on to it
/// and reaps whoever is left to it.
pub const INIT: &str = "org.bulkhead.init";

/// `root`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Root {
    /// The directory.
    pub path: String,
    /// Mount it read-only.
    pub readonly: bool,
}

/// `mounts`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mount {
    /// An absolute path in the container.
    pub destination: String,
    /// The file system's type; `bind` is told by the options.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// A device, a name or, for a bind mount, a path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// As `mount(8)` writes them.
    pub options: Vec<String>,
    /// The users of an idmapped mount; the container's own where the options ask for one and this is empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uid_mappings: Vec<IdMapping>,
    /// Its groups, likewise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gid_mappings: Vec<IdMapping>,
}
