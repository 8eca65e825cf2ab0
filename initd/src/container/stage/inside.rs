//! Another process in a container that is there (`exec`).

use std::os::fd::AsFd as _;

use bulkhead_protocol::oci::NamespaceKind;
use rustix::fs::Mode;
use rustix::process::DumpableBehavior;
use rustix::thread::{Gid, ThreadNameSpaceType, Uid};

use super::config::{Config, Inside};
use super::handed::Rest;
use super::notify::Listener;
use super::{Ready, StageError, become_program, terminal};
use crate::container::shape;
use crate::isolation::apparmor;
use crate::isolation::capabilities::Sets;
use crate::isolation::seccomp::Program as Filter;
use crate::rootfs::{RootfsError, entrance, identity};

/// Enters the container.
pub fn prepare(config: &Config, inside: &Inside, mut handed: Rest) -> Result<Ready, StageError> {
    let spec = &config.spec;
    let container = handed.next()?;
    let guest = config.world.is_guest();
    let console = handed.next_if(inside.console)?;
    let given = match guest && console.is_none() {
        true => Some([handed.next()?, handed.next()?, handed.next()?]),
        false => None,
    };
    let capabilities = Sets::parse(spec.process.capabilities.as_ref())?;
    let filter = match guest {
        true => Some(Filter::build(spec.linux.seccomp.as_ref(), &capabilities)?),
        false => spec.linux.seccomp.as_ref().map(Filter::exact).transpose()?,
    };
    let apparmor = apparmor::Profile::open(spec.process.apparmor_profile.as_deref())?;
    let listener = match (&filter, &inside.state) {
        (Some(filter), Some(state)) => Listener::connect(filter, spec, state)?,
        _ => None,
    };
    rustix::process::umask(Mode::empty());
    rustix::process::setsid().map_err(RootfsError::step("begin a session"))?;
    // A guest's process 1 is spared when memory is short; what it makes is not.
    if let Some(score) = spec.process.oom_score_adj.or(guest.then_some(0)) {
        std::fs::write("/proc/self/oom_score_adj", score.to_string())
            .map_err(RootfsError::step("set process.oomScoreAdj"))?;
    }
    // Nobody in the container looks into this process before it is the container's own.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(RootfsError::step("hide from the container"))?;
    let flags = inside.namespaces.iter().fold(0, |flags, kind| flags | shape::flag(*kind).unsigned_abs());
    if flags != 0 {
        rustix::thread::move_into_thread_name_spaces(
            container.as_fd(),
            ThreadNameSpaceType::from_bits_retain(flags),
        )
        .map_err(RootfsError::step("enter the container's namespaces"))?;
    }
    if inside.namespaces.contains(&NamespaceKind::User) {
        let become_root = || {
            rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
            rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
        };
        become_root().map_err(RootfsError::step("become the container's root"))?;
    }
    let root = entrance::open("/")?;
    let streams = match console {
        Some(socket) => Some(terminal::make(&root, &socket, spec, false)?),
        None => given,
    };
    let identity = identity::resolve(&root, &spec.process.user, become_program::has_home(spec))?;
    terminal::give_away(streams.as_ref(), identity.uid)?;
    // In a guest exec says it, and with it the status that a shell gives.
    if !guest {
        become_program::find(spec, &root)?;
    }
    Ok(Ready {
        identity,
        capabilities,
        filter,
        streams,
        listener: None,
        apparmor,
        state: None,
        notified: listener,
    })
}
