//! `features`: what the runtime knows (`features.md`, `features-linux.md`).

use serde_json::json;

use super::arguments::Words;
use super::bundle::OCI_VERSION;
use super::error::OciError;
use super::{Runtime, output};
use crate::container::hooks;
use crate::isolation::capabilities;
use crate::isolation::seccomp;
use crate::rootfs::options;

/// Tells what the runtime knows, whatever this host's kernel has.
pub fn verb(_: &Runtime, words: &Words) -> Result<u8, OciError> {
    if let [more, ..] = words.rest() {
        return Err(OciError::TooManyWords(more.clone()));
    }
    let hooks: Vec<_> = hooks::kinds(&bulkhead_protocol::oci::Hooks::default()).map(|(kind, _)| kind).into();
    let capabilities: Vec<_> = capabilities::names().collect();
    output::print_json(&json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": hooks,
        "mountOptions": options::NAMES.to_vec(),
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": capabilities,
            "cgroup": { "v1": false, "v2": true, "systemd": false, "systemdUser": false, "rdma": true },
            "seccomp": {
                "enabled": true,
                "actions": seccomp::ACTIONS,
                "operators": seccomp::OPERATORS,
                "archs": seccomp::ARCHITECTURES,
                "knownFlags": seccomp::FLAGS,
                "supportedFlags": seccomp::FLAGS,
            },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": false },
            "intelRdt": { "enabled": false },
            "mountExtensions": { "idmap": { "enabled": true } },
        },
        "annotations": { "org.bulkhead.version": env!("CARGO_PKG_VERSION") },
        "potentiallyUnsafeConfigAnnotations": [],
    }))
    .map(|()| 0)
}
