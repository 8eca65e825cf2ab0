//! A container's disks, mounted before there is a container.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bulkhead_protocol::agent::CreateContainer;

use crate::boot::LaterModules;
use crate::rootfs::{RootfsError, disk};

/// The mounts of the container's disks, in no tree yet.
pub struct Disks {
    /// The image's files.
    pub root: OwnedFd,
    /// What takes the writes to them; none where memory does.
    pub layer: Option<OwnedFd>,
    /// The volumes, in the order of the request.
    pub volumes: Vec<OwnedFd>,
}

impl Disks {
    /// Mounts on a thread of its own: a disk may be slow to appear, and a journal long.
    pub async fn mount(
        request: CreateContainer,
        modules: Arc<LaterModules>,
    ) -> Result<(CreateContainer, Self), RootfsError> {
        let mount = move || {
            let root = disk::root(&request.root, &modules)?;
            let layer = disk::layer(&request.root)?;
            let volumes = request.volumes.iter().map(disk::volume).collect::<Result<_, _>>()?;
            Ok((request, Self { root, layer, volumes }))
        };
        let done = tokio::task::spawn_blocking(mount).await;
        done.unwrap_or_else(|error| Err(RootfsError::step("mount the disks")(io::Error::other(error))))
    }
}
