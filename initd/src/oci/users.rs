//! What only the host's root can do for a container that has users of its own (`config-linux.md`, "User namespace
//! mappings"): its process waits at its gate meanwhile.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use bulkhead_protocol::oci::{Mount, Spec};
use rustix::mount::MountPropagationFlags;

use super::error::OciError;
use crate::container::spawn::Gate;
use crate::container::user_namespace::SettleError;
use crate::container::{SpecError, shape};
use crate::isolation::rlimits;
use crate::isolation::user_namespace::Maps;
use crate::rootfs::options::{Bind, Options};
use crate::rootfs::{RootfsError, mounts, setattr};

/// Mounts that hang in no tree yet: the container's root may not reach where they come from.
#[derive(Default)]
pub struct Given {
    root: Option<OwnedFd>,
    sources: Vec<(usize, OwnedFd)>,
}

impl Given {
    /// Whether the root is among them.
    pub fn root(&self) -> bool {
        self.root.is_some()
    }

    /// Which of the specification's mounts are.
    pub fn indices(&self) -> Vec<usize> {
        self.sources.iter().map(|(index, _)| *index).collect()
    }

    /// The root and the others, in order.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.root.iter().chain(self.sources.iter().map(|(_, source)| source)).map(|source| source.as_fd())
    }
}

/// Takes the root and the sources of bind mounts, where the container has users of its own.
pub fn take_mounts(spec: &Spec) -> Result<Given, OciError> {
    if !shape::own_users(spec) {
        return Ok(Given::default());
    }
    let path = spec.root.as_ref().map_or("rootfs", |root| root.path.as_str());
    let mut given = Given { root: Some(take(path, true)?), sources: Vec::new() };
    for (index, mount) in spec.mounts.iter().enumerate() {
        if let Some(source) = bind(mount)? {
            given.sources.push((index, source));
        }
    }
    Ok(given)
}

fn bind(mount: &Mount) -> Result<Option<OwnedFd>, OciError> {
    let options = Options::parse(&mount.options);
    if !mounts::is_bind(mount, &options) {
        return Ok(None);
    }
    take(mount.source.as_deref().unwrap_or("/"), options.bind == Some(Bind::Recursive)).map(Some)
}

/// A copy of a mount of which nothing gets back to the host.
fn take(path: &str, recursive: bool) -> Result<OwnedFd, OciError> {
    let copy =
        mounts::copy(rustix::fs::CWD, path, recursive).map_err(OciError::file("take the mount", path))?;
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    setattr::propagate(&copy, slave)
        .map_err(RootfsError::step("keep mounts from the host"))
        .map_err(SpecError::from)?;
    Ok(copy)
}

/// Writes the maps, raises the limits, and lets the process in.
pub fn settle(pid: i32, gate: Gate, spec: &Spec) -> Result<(), OciError> {
    let Some(maps) = Maps::parse(&spec.linux).map_err(SpecError::from)? else {
        return Ok(gate.open()?);
    };
    maps.write(pid)?;
    rlimits::raise(pid, &spec.process.rlimits).map_err(SpecError::from)?;
    gate.open()?;
    if let Some(score) = spec.process.oom_score_adj {
        std::fs::write(format!("/proc/{pid}/oom_score_adj"), score.to_string())
            .map_err(SettleError::Score)?;
    }
    Ok(())
}
