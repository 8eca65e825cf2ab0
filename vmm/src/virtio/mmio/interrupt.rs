//! The transport's interrupt line and the status bits that the event loop may set.

use std::sync::atomic::{AtomicU32, Ordering};

use vmm_sys_util::eventfd::EventFd;

use super::negotiation::status;
use crate::virtio::device::Interrupt;

/// Buffers were used (virtio 1.2 section 4.2.2, `InterruptStatus` bit 0).
pub const USED_BUFFERS: u32 = 1;
/// The configuration or the device's status changed (bit 1).
const CONFIGURATION: u32 = 2;

/// What the event loop's thread and the vCPUs share of a device.
pub struct Line {
    irq: EventFd,
    pending: AtomicU32,
    /// `DEVICE_NEEDS_RESET` or 0.
    broken: AtomicU32,
}

impl Line {
    /// A quiet line that raises `irq`.
    pub fn new(irq: EventFd) -> Line {
        Line { irq, pending: AtomicU32::new(0), broken: AtomicU32::new(0) }
    }

    /// What raises it, for a kernel that does so by itself.
    pub fn event(&self) -> &EventFd {
        &self.irq
    }

    /// A driver reads the `InterruptStatus` register. It is about to look at the used rings: what is used from now on
    /// is another interrupt. So its acknowledgement, which would take back the same, need not come to this process.
    pub fn look(&self) -> u32 {
        self.pending.fetch_and(!USED_BUFFERS, Ordering::AcqRel)
    }

    /// Takes back the reasons in `handled`. Of [`USED_BUFFERS`] alone KVM does not tell.
    pub fn acknowledge(&self, handled: u32) {
        self.pending.fetch_and(!handled, Ordering::AcqRel);
    }

    /// `DEVICE_NEEDS_RESET` if the device stopped.
    pub fn broken(&self) -> u32 {
        self.broken.load(Ordering::Acquire)
    }

    /// The device stopped: the driver must reset it.
    pub fn break_down(&self) {
        self.broken.store(status::NEEDS_RESET, Ordering::Release);
        self.config();
    }

    /// Quiet again.
    pub fn reset(&self) {
        self.broken.store(0, Ordering::Release);
        self.pending.store(0, Ordering::Release);
    }

    fn raise(&self, reason: u32) {
        // The driver has yet to look after the last interrupt, and will find this, too.
        if self.pending.fetch_or(reason, Ordering::AcqRel) & reason & USED_BUFFERS != 0 {
            return;
        }
        // Fails only when 2^64 - 1 interrupts wait already.
        let _ = self.irq.write(1);
    }
}

impl Interrupt for Line {
    fn queue(&self, _index: u16) {
        self.raise(USED_BUFFERS);
    }

    fn config(&self) {
        self.raise(CONFIGURATION);
    }
}
