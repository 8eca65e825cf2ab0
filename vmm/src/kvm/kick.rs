//! Getting a vCPU out of its guest from another thread.
#![allow(unsafe_code, reason = "kvm_run is shared with the kernel and reached through its mapping")]

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Where a vCPU's `kvm_run.immediate_exit` is; `None` once the vCPU is gone.
type Slot = Arc<Mutex<Option<ExitByte>>>;

#[derive(Clone, Copy)]
struct ExitByte(*const AtomicU8);

// SAFETY: The pointer is used only under the mutex that the vCPU clears before its mapping goes, and only
// as an atomic.
unsafe impl Send for ExitByte {}

/// Makes a vCPU's next (or present) `KVM_RUN` return at once.
///
/// Setting the byte covers a vCPU that is about to enter its guest; the signal, which the owner of the
/// thread sends, covers one that is inside.
#[derive(Clone)]
pub struct Kicker {
    slot: Slot,
}

impl Kicker {
    /// For the vCPU whose `immediate_exit` is at `byte`.
    ///
    /// # Safety
    /// `byte` stays valid until [`Kicker::forget`] is called on this or a cloned kicker.
    pub(super) unsafe fn new(byte: *mut u8) -> Self {
        Self { slot: Arc::new(Mutex::new(Some(ExitByte(byte.cast::<AtomicU8>().cast_const())))) }
    }

    /// Asks the vCPU to leave its guest. Does nothing when the vCPU is gone.
    pub fn request_exit(&self) {
        self.store(1);
    }

    fn store(&self, value: u8) {
        let slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ExitByte(byte)) = *slot {
            // SAFETY: The vCPU clears the slot under this mutex before its mapping goes, so the byte is
            // mapped; an AtomicU8 has the layout of the byte.
            unsafe { &*byte }.store(value, Ordering::SeqCst);
        }
    }

    /// Takes back what [`Kicker::request_exit`] asked for.
    pub(super) fn allow_entry(&self) {
        self.store(0);
    }

    /// The vCPU goes.
    pub(super) fn forget(&self) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
