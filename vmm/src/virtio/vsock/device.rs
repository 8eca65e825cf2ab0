//! What the socket device is.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use super::connection::Side;
use super::estate::Estate;
use super::muxer::Muxer;
use super::worker::VsockWorker;
use crate::metrics::VsockMetrics;
use crate::unix_socket;
use crate::virtio::device::{Activation, NeedsReset, Share, VirtioDevice, read_config_space};
use crate::virtio::features;
use crate::virtio::ring::Ring;

/// Virtio 1.2 section 5.10.
const DEVICE_TYPE: u32 = 19;
/// Receive, transmit, event.
const QUEUE_SIZES: [u16; 3] = [256, 256, 64];
/// 0 to 2 mean the hypervisor, the local machine and the host (vsock(7)); all ones is a wildcard.
const CIDS: std::ops::RangeInclusive<u32> = 3..=u32::MAX - 1;

/// Why a socket device cannot be made.
#[derive(Debug, Error)]
pub enum VsockError {
    /// A context id that is taken for others.
    #[error("Guest CID {0} is reserved; a guest's is from 3 to 4294967294")]
    Cid(u32),
    /// The socket file exists, or its folder does not, or its path is too long.
    #[error("Cannot listen on vsock socket {path}")]
    Listen {
        /// The socket file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// A socket device, and the socket file that leads to it (removed with it).
#[derive(Debug)]
pub struct VsockDevice {
    id: String,
    guest_cid: u64,
    path: PathBuf,
    listener: UnixListener,
    estate: Estate,
    metrics: Arc<VsockMetrics>,
}

impl VsockDevice {
    /// A socket device by the name of `id` for the guest `guest_cid`. Its socket file is made here, must not
    /// exist, and belongs to its owner only; programs may connect from now on.
    pub fn new(
        id: &str,
        guest_cid: u32,
        uds_path: PathBuf,
        metrics: Arc<VsockMetrics>,
    ) -> Result<VsockDevice, VsockError> {
        if !CIDS.contains(&guest_cid) {
            return Err(VsockError::Cid(guest_cid));
        }
        match unix_socket::listen(&uds_path) {
            Ok(listener) => Ok(VsockDevice {
                id: id.to_owned(),
                guest_cid: guest_cid.into(),
                path: uds_path,
                listener,
                estate: Estate::default(),
                metrics,
            }),
            Err(source) => Err(VsockError::Listen { path: uds_path, source }),
        }
    }
}

impl Drop for VsockDevice {
    fn drop(&mut self) {
        // Somebody may have removed it before us.
        let _ = std::fs::remove_file(&self.path);
        // The worker, which is gone by now, left what the guest wrote last.
        self.estate.settle();
    }
}

impl VirtioDevice for VsockDevice {
    fn device_type(&self) -> u32 {
        DEVICE_TYPE
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn features(&self) -> u64 {
        features::COMMON
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_config_space(&self.guest_cid.to_le_bytes(), offset, data);
    }

    fn activate(&mut self, activation: Activation<'_>) -> Result<Vec<Share>, NeedsReset> {
        let rings = <[Ring; 3]>::try_from(Ring::from_activation(activation)).map_err(|_| NeedsReset)?;
        let listener = self.listener.try_clone().map_err(|_| NeedsReset)?;
        let side = Side { guest_cid: self.guest_cid, metrics: Arc::clone(&self.metrics) };
        let muxer = Muxer::new(side, self.path.clone(), listener, self.estate.clone())
            .inspect_err(|_| self.metrics.activate_fails.increment())
            .map_err(|_| NeedsReset)?;
        Ok(Share::whole(VsockWorker::new(rings, muxer, Arc::clone(&self.metrics))))
    }
}
