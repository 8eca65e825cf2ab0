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
use crate::isolation::user_namespace::{self, Maps};
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
///
/// Mounts whose ids are mapped by maps of their own are taken in any case: `make_users` makes the namespace of some.
pub fn take_mounts(
    spec: &Spec,
    make_users: impl Fn(&Maps) -> Result<OwnedFd, OciError>,
) -> Result<Given, OciError> {
    let own_users = shape::own_users(spec);
    let mut given = Given::default();
    if own_users {
        let path = spec.root.as_ref().map_or("rootfs", |root| root.path.as_str());
        given.root = Some(take(path, true)?);
    }
    for (index, mount) in spec.mounts.iter().enumerate() {
        let options = Options::parse(&mount.options);
        if !mounts::is_bind(mount, &options) || (!own_users && mount.uid_mappings.is_empty()) {
            continue;
        }
        let recursive = options.bind == Some(Bind::Recursive);
        let source = take(mount.source.as_deref().unwrap_or("/"), recursive)?;
        if !mount.uid_mappings.is_empty() {
            let maps = Maps::of_mount(mount).map_err(SpecError::from)?;
            map(&source, &make_users(&maps)?, &options)?;
        }
        given.sources.push((index, source));
    }
    Ok(given)
}

/// Maps the ids of a mount that hangs in no tree yet.
fn map(source: &OwnedFd, users: &OwnedFd, options: &Options) -> Result<(), OciError> {
    setattr::map_ids(source, users, options.idmap == Some(Bind::Recursive))
        .map_err(RootfsError::step("map the ids of a mount"))
        .map_err(|error| SpecError::from(error).into())
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
pub fn settle(pid: i32, gate: Gate, spec: &Spec, given: &Given) -> Result<(), OciError> {
    let Some(maps) = Maps::parse(&spec.linux).map_err(SpecError::from)? else {
        return Ok(gate.open()?);
    };
    maps.write(pid)?;
    let by_container = |mount: &Mount| mount.uid_mappings.is_empty();
    for (index, source) in &given.sources {
        let mount = spec.mounts.get(*index).filter(|mount| by_container(mount));
        let options = mount.map(|mount| Options::parse(&mount.options));
        if let Some(options) = options.filter(|options| options.idmap.is_some()) {
            map(source, &user_namespace::open(pid)?, &options)?;
        }
    }
    rlimits::raise(pid, &spec.process.rlimits).map_err(SpecError::from)?;
    gate.open()?;
    if let Some(score) = spec.process.oom_score_adj {
        std::fs::write(format!("/proc/{pid}/oom_score_adj"), score.to_string())
            .map_err(SettleError::Score)?;
    }
    Ok(())
}
