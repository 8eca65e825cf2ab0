//! Memory for the `virtio-drivers` crate: one arena that all tests of the process share.

#![allow(unsafe_code, reason = "the driver crate's hardware abstraction is an unsafe trait of raw pointers")]

use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Mutex, OnceLock};

use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};
use vm_memory::{GuestAddress, GuestMemoryBackend};

use crate::memory::GuestMemory;

const PAGES: usize = 16 * 1024;

/// Allocations by first page; page 0 is never handed out.
static ALLOCATED: Mutex<BTreeMap<usize, usize>> = Mutex::new(BTreeMap::new());

/// The arena as the devices see it.
pub fn arena() -> &'static GuestMemory {
    static ARENA: OnceLock<GuestMemory> = OnceLock::new();
    ARENA.get_or_init(|| GuestMemory::from_ranges(&[(GuestAddress(0), PAGES * PAGE_SIZE)]).unwrap())
}

fn allocate(pages: usize) -> u64 {
    let mut allocated = ALLOCATED.lock().unwrap();
    let mut start = 1;
    for (&first, &count) in allocated.iter() {
        if first - start >= pages {
            break;
        }
        start = first + count;
    }
    assert!(start + pages <= PAGES, "the arena of the tests is full");
    allocated.insert(start, pages);
    (start * PAGE_SIZE) as u64
}

fn free(address: u64) {
    ALLOCATED.lock().unwrap().remove(&(address as usize / PAGE_SIZE)).unwrap();
}

fn pointer(address: u64) -> NonNull<u8> {
    NonNull::new(arena().get_host_address(GuestAddress(address)).unwrap()).unwrap()
}

/// The driver crate's way to memory.
pub struct ArenaHal;

// SAFETY: addresses are those of live, zeroed, page-aligned allocations of the arena, which is never unmapped
// and which nothing else in this process refers to.
unsafe impl Hal for ArenaHal {
    fn dma_alloc(pages: usize, _direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let address = allocate(pages);
        let pointer = pointer(address);
        // SAFETY: the allocation is `pages` long.
        unsafe { pointer.write_bytes(0, pages * PAGE_SIZE) };
        (address, pointer)
    }

    unsafe fn dma_dealloc(address: PhysAddr, _pointer: NonNull<u8>, _pages: usize) -> i32 {
        free(address);
        0
    }

    unsafe fn mmio_phys_to_virt(_address: PhysAddr, _size: usize) -> NonNull<u8> {
        unreachable!("registers are reached through a window")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _direction: BufferDirection) -> PhysAddr {
        let address = allocate(buffer.len().div_ceil(PAGE_SIZE).max(1));
        // SAFETY: the caller's buffer is valid, the allocation is as long and nobody else's.
        unsafe { pointer(address).copy_from_nonoverlapping(buffer.cast(), buffer.len()) };
        address
    }

    unsafe fn unshare(address: PhysAddr, buffer: NonNull<[u8]>, direction: BufferDirection) {
        if direction != BufferDirection::DriverToDevice {
            // SAFETY: as in `share`, the other way round.
            unsafe { buffer.cast().copy_from_nonoverlapping(pointer(address), buffer.len()) };
        }
        free(address);
    }
}
