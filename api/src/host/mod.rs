//! What the daemon does to the host: processes, links, rules, cgroups, files. It knows no resource.
//!
//! * [`layout`]: where everything lies.
//! * [`process`]: starting a VMM in a session of its own and knowing it again.
//! * [`vmm_config`]: the configuration that a VMM is started with.
//! * [`vmm_api`]: Firecracker's API, for what changes while a machine runs.
//! * [`network`]: the bridge, taps, rules and the resolver.
//! * [`passt`]: a network without a bridge and without privileges.
//! * [`agent`]: HTTP over the hybrid vsock socket to the guest's init.
//! * [`cgroup`], [`disk`], [`ports`]: one thing each.

pub mod agent;
pub mod cgroup;
pub mod disk;
mod error;
pub mod exchange;
pub mod layout;
pub mod log_frame;
pub mod log_store;
pub mod network;
pub mod overlay;
pub mod passt;
pub mod ports;
pub mod process;
pub mod relay;
pub mod vmm_api;
pub mod vmm_config;

pub use error::HostError;
