//! What keeps a container in its place: cgroups, capabilities, system call filters, limits.

pub mod apparmor;
pub mod capabilities;
pub mod cgroup;
pub mod device_filter;
pub mod keyring;
pub mod rlimits;
pub mod schedule;
pub mod seccomp;
pub mod user_namespace;
