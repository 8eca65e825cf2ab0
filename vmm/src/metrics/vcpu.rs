//! What leaves the guest.

use serde::Serialize;

use super::Counter;

/// Exits to this process by kind, of all vCPUs together (Firecracker's `vcpu`).
#[derive(Debug, Default, Serialize)]
pub struct VcpuMetrics {
    /// Reads of ports.
    pub exit_io_in: Counter,
    /// Writes of ports.
    pub exit_io_out: Counter,
    /// Reads of device memory.
    pub exit_mmio_read: Counter,
    /// Writes of device memory.
    pub exit_mmio_write: Counter,
    /// Exits that end the machine because KVM or the host fails the guest.
    pub failures: Counter,
}
