//! What the runtime knows of a container.

use std::collections::BTreeMap;

use bulkhead_protocol::oci::{NamespaceKind, Spec, State, Status};
use serde::{Deserialize, Serialize};

use super::store::Entry;
use super::time;
use crate::bounded;
use crate::container::shape;
use crate::isolation::cgroup::Cgroup;

/// `state.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The specification's version, as the bundle has it.
    pub oci_version: String,
    /// The container.
    pub id: String,
    /// Its first process; 0 before there is one.
    pub pid: i32,
    /// When that process began, in the kernel's ticks since the machine's start: a number may be used again.
    pub started: u64,
    /// The absolute path of the bundle.
    pub bundle: String,
    /// The absolute path of the root.
    pub rootfs: String,
    /// When the container was made.
    pub created: String,
    /// Its group, from the hierarchy's root on.
    pub cgroup: String,
    /// The namespaces that its processes have in common.
    pub namespaces: Vec<NamespaceKind>,
    /// It has processes of its own, which end with the first.
    pub own_processes: bool,
    /// The specification's annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub annotations: BTreeMap<String, String>,
}

impl Record {
    /// Of a container that has no process yet.
    pub fn new(id: &str, bundle: &super::bundle::Bundle, cgroup: &Cgroup) -> Self {
        let spec: &Spec = &bundle.spec;
        Self {
            oci_version: spec.oci_version.clone(),
            id: id.to_owned(),
            pid: 0,
            started: 0,
            bundle: bundle.path.display().to_string(),
            rootfs: bundle.rootfs().display().to_string(),
            created: time::now(),
            cgroup: format!("/{}", cgroup.name().display()),
            namespaces: spec.linux.namespaces.iter().map(|namespace| namespace.kind).collect(),
            own_processes: shape::is_new(spec, NamespaceKind::Pid),
            annotations: spec.annotations.clone(),
        }
    }

    /// Its group.
    pub fn cgroup(&self) -> Cgroup {
        Cgroup::at(&self.cgroup)
    }

    /// Whether its first process runs, and is the one that was made.
    pub fn is_alive(&self) -> bool {
        self.pid > 0 && started(self.pid) == Some(self.started)
    }

    /// Where in its life it is.
    pub fn status(&self, entry: &Entry) -> Status {
        if self.pid == 0 {
            Status::Creating
        } else if !self.is_alive() {
            Status::Stopped
        } else if entry.socket().exists() {
            Status::Created
        } else if self.cgroup().is_frozen().unwrap_or(false) {
            Status::Paused
        } else {
            Status::Running
        }
    }

    /// The state that hooks and `state` get.
    pub fn state(&self, status: Status) -> State {
        State {
            oci_version: super::bundle::OCI_VERSION.to_owned(),
            id: self.id.clone(),
            status,
            pid: if status == Status::Stopped { 0 } else { self.pid },
            bundle: self.bundle.clone(),
            annotations: self.annotations.clone(),
        }
    }
}

/// When a process began, in ticks; nothing where it has ended, reaped or not.
pub fn started(pid: i32) -> Option<u64> {
    parse_stat(&bounded::read_text(format!("/proc/{pid}/stat"), 4 << 10).ok()?)
}

/// Field 22 of `/proc/PID/stat`, behind the name, which may hold anything.
fn parse_stat(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    let started = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_beginning() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(started(own).is_some_and(|ticks| ticks > 0));
        let tail = "1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 99 100";
        assert_eq!(parse_stat(&format!("7 (a) b) c) S {tail}")), Some(4711));
        assert_eq!(parse_stat(&format!("7 (x) Z {tail}")), None);
        assert_eq!(parse_stat("rubbish"), None);
    }
}
