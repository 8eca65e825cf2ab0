//! The cases, a file a part of the specification.

mod cgroup;
mod cli;
mod devices;
mod document;
mod hooks;
mod isolation;
mod lifecycle;
mod mount_options;
mod mounts;
mod namespaces;
mod process;
mod seccomp;
mod security;
mod user;

use crate::case::Case;

/// Every case, in the order of the table.
pub fn all() -> Vec<&'static Case> {
    let groups: [&[Case]; 14] = [
        lifecycle::CASES,
        document::CASES,
        process::CASES,
        user::CASES,
        mounts::CASES,
        mount_options::CASES,
        namespaces::CASES,
        devices::CASES,
        isolation::CASES,
        cgroup::CASES,
        seccomp::CASES,
        hooks::CASES,
        cli::CASES,
        security::CASES,
    ];
    groups.into_iter().flatten().collect()
}
