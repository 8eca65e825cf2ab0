//! The world of a guest's container, from its disks.

use std::os::fd::OwnedFd;

use rustix::fs::{Gid, Uid};

use super::config::{Config, Guest};
use super::handed::Rest;
use super::{Ready, StageError, surroundings};
use crate::isolation::capabilities::Sets;
use crate::isolation::seccomp::Program as Filter;
use crate::isolation::user_namespace::Maps;
use crate::rootfs::entrance::{self, Way};
use crate::rootfs::mounts::Given;
use crate::rootfs::nodes::Origin;
use crate::rootfs::overlay::Layer;
use crate::rootfs::{RootfsError, files, identity, masks, mounts, nodes, overlay, volume};

/// Puts the container's world together and enters it.
pub fn prepare(config: &Config, guest: &Guest, mut handed: Rest) -> Result<Ready, StageError> {
    let streams = [handed.next()?, handed.next()?, handed.next()?];
    let lower = handed.next()?;
    let disks = handed.all();
    let spec = &config.spec;
    let capabilities = Sets::parse(spec.process.capabilities.as_ref())?;
    let filter = Filter::build(spec.linux.seccomp.as_ref(), &capabilities)?;
    surroundings::settle(config)?;
    surroundings::own_cgroups()?;
    let (layer, volumes) = disks.split_at(disks.len().min(usize::from(guest.layer_disk)));
    if !config.own_users {
        let layer = layer.first().map_or(Layer::Memory(guest.layer_bytes), Layer::Disk);
        overlay::assemble(&lower, layer, None)?;
    }
    drop(lower);
    let root = overlay::open()?;
    let sysfs_is_kept = config.own_users && !config.own_network;
    for mount in &spec.mounts {
        mounts::apply(&root, mount, Given { sysfs_is_kept, ..Given::default() })?;
    }
    if mounts::owns_dev(&spec.mounts) {
        let origin = if config.own_users { Origin::Kept } else { Origin::Over };
        nodes::make(&root, &spec.linux.devices, origin)?;
    }
    for (volume, destination) in volumes.iter().zip(&guest.volumes) {
        volume::attach_volume(&root, volume, destination)?;
    }
    let hostname = config.hostname.as_deref().unwrap_or_default();
    files::write(&root, &spec.mounts, hostname, &guest.addresses, &guest.resolvers)?;
    surroundings::make_working_folder(&root, &spec.process.cwd)?;
    masks::write_protect(&root, &spec.linux.readonly_paths)?;
    masks::mask(&root, &spec.linux.masked_paths)?;
    let read_only = spec.root.as_ref().is_some_and(|root| root.readonly);
    entrance::enter(&root, Way { read_only, ..Way::default() })?;
    let identity = identity::resolve(&root, &spec.process.user, false)?;
    if let Some(maps) = Maps::parse(&spec.linux)? {
        identity.check(&maps)?;
    }
    let [_, output, errors] = &streams;
    give_away(&[output, errors], &identity)?;
    Ok(Ready {
        identity,
        capabilities,
        filter: Some(filter),
        streams: Some(streams),
        listener: None,
        apparmor: None,
        state: None,
        notified: None,
    })
}

/// Who writes to /dev/stdout opens it anew, which its owner alone may do.
fn give_away(streams: &[&OwnedFd], identity: &identity::Identity) -> Result<(), RootfsError> {
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    streams
        .iter()
        .try_for_each(|stream| rustix::fs::fchown(stream, Some(uid), Some(gid)))
        .map_err(RootfsError::step("give away the output"))
}
