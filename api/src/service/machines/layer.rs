//! What a machine's container writes to its root: an overlay of an empty file system that machines share. It is as
//! old as the machine's record, and goes with its folder.

use crate::host::layout::Layout;
use crate::host::vmm_config::Drive;
use crate::host::{disk, overlay};
use crate::service::Service;
use crate::service::error::ServiceError;
use crate::service::model::Machine;

/// The drive's id.
pub const LAYER: &str = "layer";

/// The drive of a machine's layer.
pub fn drive(machine: &Machine, layout: &Layout) -> Drive {
    Drive {
        id: LAYER.into(),
        path: layout.layer_base(machine.spec.root_size_mib),
        overlay: Some(layout.layer(&machine.metadata.id)),
        read_only: false,
    }
}

impl Service {
    /// Makes a machine's layer at its first start, and what is under it at the first of that size.
    pub(super) async fn ensure_layer(&self, machine: &Machine) -> Result<(), ServiceError> {
        let (id, size_mib) = (&machine.metadata.id, machine.spec.root_size_mib);
        let base = self.layout.layer_base(size_mib);
        {
            let _one_at_a_time = self.layers.lock().await;
            if !base.exists() {
                disk::make_ext4(&base, size_mib).await?;
            }
        }
        let path = self.layout.layer(id);
        if !path.exists() {
            overlay::make(&path, &Layout::layer_base_from_machine(size_mib), u64::from(size_mib) << 20)?;
        }
        Ok(())
    }
}
