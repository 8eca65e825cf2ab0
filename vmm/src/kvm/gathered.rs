//! Writes that KVM gathers in a ring instead of leaving the guest for each ("coalesced" in KVM's words:
//! Documentation/virt/kvm/api.rst, `KVM_REGISTER_COALESCED_MMIO`; `KVM_CAP_COALESCED_PIO` for ports).
#![allow(unsafe_code, reason = "the ring is shared with the kernel and reached through its mapping")]

use std::cell::UnsafeCell;
use std::os::fd::AsRawFd;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kvm_bindings::{KVM_COALESCED_MMIO_PAGE_OFFSET, kvm_coalesced_mmio};
use kvm_ioctls::{IoEventAddress, VcpuFd, VmFd};

use super::KvmError;

/// The ring is one page.
const PAGE: usize = 4096;
/// `KVM_COALESCED_MMIO_MAX`: what fits behind the two indices.
const ENTRIES: usize = (PAGE - 2 * size_of::<u32>()) / size_of::<kvm_coalesced_mmio>();

/// Makes KVM gather the writes to a range of ports, and stops it again. May be used by any thread.
#[derive(Clone)]
pub struct Gatherer {
    vm: Arc<VmFd>,
    port: u16,
    count: u32,
}

impl Gatherer {
    pub(super) fn new(vm: &Arc<VmFd>, port: u16, count: u32) -> Self {
        Self { vm: Arc::clone(vm), port, count }
    }

    /// From now on the guest's writes to these ports go to the ring. Tells whether KVM does so.
    pub fn start(&self) -> bool {
        self.vm.register_coalesced_mmio(IoEventAddress::Pio(self.port.into()), self.count).is_ok()
    }

    /// From now on each write leaves the guest. Tells whether that was so ordered.
    pub fn stop(&self) -> bool {
        self.vm.unregister_coalesced_mmio(IoEventAddress::Pio(self.port.into()), self.count).is_ok()
    }
}

/// `struct kvm_coalesced_mmio_ring`, in its page.
#[repr(C)]
struct Ring {
    /// The oldest entry; ours to write.
    first: AtomicU32,
    /// Behind the newest; the kernel's.
    last: AtomicU32,
    entries: [UnsafeCell<kvm_coalesced_mmio>; ENTRIES],
}

/// The ring of a machine's gathered writes.
pub struct GatheredWrites {
    ring: NonNull<Ring>,
    /// Held by whoever takes writes out, so that devices get them in the guest's order.
    reader: Mutex<()>,
}

// SAFETY: the mapping lives as long as the value and belongs to no thread; its indices are atomics, and its
// entries are read only under the mutex.
unsafe impl Send for GatheredWrites {}
// SAFETY: as above.
unsafe impl Sync for GatheredWrites {}

impl GatheredWrites {
    /// The ring of the machine that `vcpu` is of.
    pub(super) fn map(vcpu: &VcpuFd) -> Result<Self, KvmError> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let offset = i64::from(KVM_COALESCED_MMIO_PAGE_OFFSET) * PAGE as i64;
        let descriptor = vcpu.as_raw_fd();
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let page = unsafe { libc::mmap(null_mut(), PAGE, protection, libc::MAP_SHARED, descriptor, offset) };
        match NonNull::new(page.cast()) {
            Some(ring) if page != libc::MAP_FAILED => Ok(Self { ring, reader: Mutex::new(()) }),
            _ => Err(KvmError::Vm("share its ring of writes", kvm_ioctls::Error::last())),
        }
    }

    fn ring(&self) -> &Ring {
        // SAFETY: the mapping is a page, as long as this lives, and what changes in it is behind cells.
        unsafe { self.ring.as_ref() }
    }

    /// Hands the gathered writes to `each`, the oldest first: port and data. Tells whether there were any. Where
    /// there are none, two loads.
    pub fn take(&self, mut each: impl FnMut(u16, &[u8])) -> bool {
        let ring = self.ring();
        let oldest = || {
            let (first, last) = (ring.first.load(Ordering::Relaxed), ring.last.load(Ordering::Acquire));
            (first != last).then_some(first)
        };
        if oldest().is_none() {
            return false;
        }
        let _alone = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let mut any = false;
        while let Some(first) = oldest() {
            let Some(entry) = ring.entries.get(first as usize) else { return any };
            // SAFETY: between `first` and `last` the kernel writes nothing, and `first` moves under the mutex.
            let write = unsafe { *entry.get() };
            // Only ports are gathered.
            if let (Ok(port), Some(data)) =
                (u16::try_from(write.phys_addr), write.data.get(..write.len as usize))
            {
                each(port, data);
            }
            // Only now: whoever finds none waiting may rely on all that came before.
            ring.first.store((first + 1) % ENTRIES as u32, Ordering::Release);
            any = true;
        }
        any
    }
}

impl Drop for GatheredWrites {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's own, and nobody has a pointer into it.
        unsafe { libc::munmap(self.ring.as_ptr().cast(), PAGE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page as the kernel would share it.
    fn page() -> GatheredWrites {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let page = unsafe { libc::mmap(null_mut(), PAGE, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        assert_ne!(page, libc::MAP_FAILED);
        GatheredWrites { ring: NonNull::new(page.cast()).unwrap(), reader: Mutex::new(()) }
    }

    /// What the kernel does for a write.
    fn put(writes: &GatheredWrites, port: u64, length: u32, value: u8) {
        let last = writes.ring().last.load(Ordering::Relaxed);
        let write =
            kvm_coalesced_mmio { phys_addr: port, len: length, data: [value; 8], ..Default::default() };
        // SAFETY: nobody reads it before `last` says so.
        unsafe { *writes.ring().entries[last as usize].get() = write };
        writes.ring().last.store((last + 1) % ENTRIES as u32, Ordering::Release);
    }

    #[test]
    fn writes_come_out_once_in_their_order_round_the_end_of_the_page() {
        assert!(size_of::<Ring>() <= PAGE);
        let (writes, mut seen) = (page(), Vec::new());
        assert!(!writes.take(|_, _| panic!("there is none")));
        for round in 0..100_u8 {
            (0..7).for_each(|at| put(&writes, 0x3f8 + at, 1, round));
            assert!(writes.take(|port, data| seen.push((port, data.to_vec()))));
            let expected: Vec<_> = (0x3f8..0x3ff).map(|port| (port, vec![round])).collect();
            assert_eq!(std::mem::take(&mut seen), expected);
            assert!(!writes.take(|_, _| panic!("they are taken")));
        }
    }

    #[test]
    fn what_is_no_write_to_a_port_is_dropped() {
        let writes = page();
        put(&writes, 1 << 32, 1, 0);
        put(&writes, 0x3f8, 9, 0);
        assert!(writes.take(|_, _| panic!("neither is one")));
        writes.ring().first.store(u32::MAX, Ordering::Relaxed);
        assert!(!writes.take(|_, _| panic!("there is no such entry")));
    }
}
