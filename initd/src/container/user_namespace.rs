//! What only the guest's root can do for a container whose root is another, while its process waits at its gate.
//!
//! - The maps are written, and hard limits raised as far as the specification asks.
//! - The image's disk and the volumes become idmapped mounts: their files keep their ids on the disk, and the
//!   container sees them as its own. EROFS and ext4 can do that, tmpfs cannot in Linux 6.1; so in the writable
//!   layer, be it memory or a disk, ids are what the guest sees, and its root is given to the container's.
//! - The overlay is mounted by the guest's root, because mounted from within it could not hide a folder of the
//!   image behind a new one: that takes `trusted.*` attributes, which are the guest's root's, and tmpfs has no
//!   `user.*` ones before Linux 6.6.
//! - Device nodes are made, since in a user namespace nobody can; the container binds them into its /dev.
//! - sysfs shows the network, and where that is the guest's, the guest's root alone may mount it.
#![allow(
    unsafe_code,
    reason = "a thread leaves the folders of the others behind, to enter another mount namespace"
)]

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::thread;

use bulkhead_protocol::oci::Spec;
use rustix::fs::Mode;
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use super::disks::Disks;
use super::shape;
use super::spawn::{Gate, SpawnError};
use crate::isolation::rlimits::{self, RlimitError};
use crate::isolation::user_namespace::{self, Maps, UserNamespaceError};
use crate::rootfs::overlay::Layer;
use crate::rootfs::{RootfsError, mounts, nodes, overlay, setattr};

/// What goes wrong while a container gets users of its own.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// The namespace or its maps.
    #[error(transparent)]
    Namespace(#[from] UserNamespaceError),
    /// The limits.
    #[error(transparent)]
    Rlimit(#[from] RlimitError),
    /// The root, the volumes or the devices.
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    /// The process could not go on.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The score for a shortage of memory.
    #[error("Cannot set the score for a shortage of memory")]
    Score(#[source] io::Error),
}

/// What a container with users of its own is to have.
pub struct Settlement {
    /// Its first process, which waits at `gate`.
    pub pid: i32,
    /// Where it waits.
    pub gate: Gate,
    /// Its ids.
    pub maps: Maps,
    /// Its specification.
    pub spec: Spec,
    /// How many bytes may be written to its root where memory takes them.
    pub layer_bytes: u64,
}

impl Settlement {
    /// Does all of it and opens the gate. Blocks.
    pub fn settle(self, disks: &Disks) -> Result<(), SettleError> {
        let Self { pid, gate, maps, spec, layer_bytes } = self;
        maps.write(pid)?;
        let users = user_namespace::open(pid)?;
        rlimits::raise(pid, &spec.process.rlimits)?;
        for mount in [&disks.root].into_iter().chain(&disks.volumes) {
            setattr::map_ids(mount, &users, false).map_err(RootfsError::step("map the ids of a disk"))?;
        }
        in_mount_namespace(pid, || prepare(&maps, &spec, disks, layer_bytes))?;
        gate.open()?;
        // Not before: until then the process shares its memory with us, and the score goes with the memory.
        let score = spec.process.oom_score_adj.unwrap_or(0).to_string();
        std::fs::write(format!("/proc/{pid}/oom_score_adj"), score).map_err(SettleError::Score)
    }
}

/// Makes what the container's process finds in its mount namespace.
fn prepare(maps: &Maps, spec: &Spec, disks: &Disks, layer_bytes: u64) -> Result<(), RootfsError> {
    let layer = disks.layer.as_ref().map_or(Layer::Memory(layer_bytes), Layer::Disk);
    overlay::assemble(&disks.root, layer, Some(maps.root()))?;
    if mounts::owns_dev(&spec.mounts) {
        nodes::keep(maps, &spec.linux.devices)?;
    }
    if !shape::own_network(spec) { mounts::keep_sysfs() } else { Ok(()) }
}

/// Does something as the guest's root, in the mount namespace of the process `pid`.
fn in_mount_namespace(
    pid: i32,
    action: impl FnOnce() -> Result<(), RootfsError> + Send,
) -> Result<(), RootfsError> {
    let namespace = File::open(format!("/proc/{pid}/ns/mnt"))
        .map_err(RootfsError::step("open the container's mount namespace"))?;
    let enter = move || {
        // SAFETY: only CLONE_FILES can break what other code relies on, and it is not among the flags.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }?;
        rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))?;
        rustix::process::umask(Mode::empty());
        Ok::<_, io::Error>(())
    };
    let failed = RootfsError::step("work in the container's mount namespace");
    // A thread of its own, which ends: nobody else shall find himself in that namespace.
    let done = thread::scope(|scope| {
        let work = move || {
            enter().map_err(RootfsError::step("enter the container's mount namespace"))?;
            action()
        };
        let thread = thread::Builder::new().spawn_scoped(scope, work)?;
        thread.join().map_err(|_| io::Error::other("its thread panicked"))
    });
    done.unwrap_or_else(|error: io::Error| Err(failed(error)))
}
