//! Namespaces that are there already (`config-linux.md`, "Namespaces", `path`).

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use bulkhead_protocol::oci::{NamespaceKind, Spec};
use rustix::thread::LinkNameSpaceType;

use super::error::OciError;
use super::process::Child;
use crate::container::SpecError;
use crate::rootfs::RootfsError;

/// Namespaces to join.
pub struct Joins {
    /// What the process joins by itself.
    list: Vec<(NamespaceKind, OwnedFd)>,
    /// Processes: the one who makes it joins them, and comes back.
    processes: Option<(OwnedFd, OwnedFd)>,
}

/// Opens what the specification wants to join.
pub fn open(spec: &Spec) -> Result<Joins, OciError> {
    let mut joins = Joins { list: Vec::new(), processes: None };
    for namespace in &spec.linux.namespaces {
        let Some(path) = namespace.path.as_deref().filter(|path| !path.is_empty()) else { continue };
        let file: OwnedFd = File::open(path).map_err(OciError::file("open the namespace", path))?.into();
        let wrong = |reason| {
            let (property, value) = ("linux.namespaces.path", path.to_owned());
            OciError::from(SpecError::Value { property, value, reason })
        };
        match namespace.kind {
            NamespaceKind::User => return Err(wrong("joining a user namespace is not offered")),
            NamespaceKind::Pid => {
                let own = "/proc/self/ns/pid";
                let own = File::open(own).map_err(OciError::file("open the namespace", own))?;
                joins.processes = Some((file, own.into()));
            }
            kind => joins.list.push((kind, file)),
        }
    }
    Ok(joins)
}

impl Joins {
    /// The kinds that the process joins by itself.
    pub fn kinds(&self) -> Vec<NamespaceKind> {
        self.list.iter().map(|(kind, _)| *kind).collect()
    }

    /// Their descriptors, in the same order.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.list.iter().map(|(_, file)| file.as_fd())
    }

    /// Makes a process in the process namespace that is joined, if any; later children are the host's again.
    pub fn spawn(&self, make: impl FnOnce() -> Result<Child, OciError>) -> Result<Child, OciError> {
        let Some((joined, own)) = &self.processes else { return make() };
        let kind = Some(LinkNameSpaceType::ProcessID);
        let enter = |namespace: &OwnedFd| {
            rustix::thread::move_into_link_name_space(namespace.as_fd(), kind)
                .map_err(RootfsError::step("join the process namespace of linux.namespaces.path"))
                .map_err(|error| OciError::from(SpecError::from(error)))
        };
        enter(joined)?;
        let made = make();
        enter(own)?;
        made
    }
}
