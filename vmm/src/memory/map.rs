//! Host memory behind the guest's.
#![allow(unsafe_code, reason = "mmap with a chosen alignment, which vm-memory cannot ask for")]

use std::io;
use std::ptr::null_mut;

use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{GuestAddress, GuestRegionMmap};

use super::{GuestMemory, layout};

/// A huge page. Host and guest addresses that agree below it let the processor use one translation for it.
pub const HUGE_PAGE: usize = 2 << 20;

/// What may go wrong with the guest's memory.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The host has no room.
    #[error("Cannot reserve {0} bytes of memory for the guest")]
    Map(u64, #[source] io::Error),
    /// The regions do not fit together.
    #[error("Cannot lay out {0} bytes of memory for the guest")]
    Layout(u64, #[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Maps `size` bytes of guest memory around the gap. The host gives pages when they are touched, by huge
/// pages where it can. The mapping lasts until the process ends, as the machine does.
pub fn map(size: u64) -> Result<GuestMemory, MemoryError> {
    let mut regions = Vec::new();
    for range in layout::ram(size).into_iter().filter(|range| !range.is_empty()) {
        let length = usize::try_from(range.end - range.start)
            .map_err(|_| MemoryError::Map(size, io::ErrorKind::OutOfMemory.into()))?;
        let start = map_aligned(length).map_err(|error| MemoryError::Map(size, error))?;
        // SAFETY: `start` is a fresh private mapping of `length` bytes that nothing else knows or unmaps.
        let builder = unsafe { MmapRegionBuilder::<()>::new(length).with_raw_mmap_pointer(start) };
        let region = builder
            .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
            .with_mmap_flags(FLAGS)
            .build()
            .map_err(|error| MemoryError::Layout(size, error.into()))?;
        let region = GuestRegionMmap::new(region, GuestAddress(range.start))
            .ok_or_else(|| MemoryError::Layout(size, "address overflow".into()))?;
        regions.push(region);
    }
    GuestMemory::from_regions(regions).map_err(|error| MemoryError::Layout(size, error.into()))
}

const FLAGS: libc::c_int = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;

/// Maps `length` bytes that start on a huge page's boundary.
fn map_aligned(length: usize) -> io::Result<*mut u8> {
    let reserved = length.checked_add(HUGE_PAGE).ok_or(io::ErrorKind::OutOfMemory)?;
    // SAFETY: A new anonymous mapping at an address of the kernel's choice touches nothing that exists.
    let start = unsafe { libc::mmap(null_mut(), reserved, libc::PROT_READ | libc::PROT_WRITE, FLAGS, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let start = start.cast::<u8>();
    let head = start.align_offset(HUGE_PAGE);
    let aligned = start.wrapping_add(head);
    let tail = HUGE_PAGE - head;
    if head > 0 {
        // SAFETY: The first `head` bytes of the mapping above; nobody has a pointer into them.
        unsafe { libc::munmap(start.cast(), head) };
    }
    if tail > 0 {
        // The rest of the last page stays with the guest's end when `length` is no multiple of a page;
        // machine sizes are mebibytes, so it never is.
        // SAFETY: The last `tail` bytes of the mapping above; nobody has a pointer into them.
        unsafe { libc::munmap(aligned.wrapping_add(length).cast(), tail) };
    }
    // Without huge pages the guest runs all the same, so a refusal is no error.
    // SAFETY: Advice on a mapping of ours changes no content; DONTDUMP keeps the guest out of core files.
    unsafe { libc::madvise(aligned.cast(), length, libc::MADV_HUGEPAGE) };
    // SAFETY: As above.
    unsafe { libc::madvise(aligned.cast(), length, libc::MADV_DONTDUMP) };
    Ok(aligned)
}

#[cfg(test)]
mod tests {
    use vm_memory::{Bytes, GuestMemoryBackend, GuestMemoryRegion};

    use super::*;
    use crate::memory::layout::{GIB, MIB};

    #[test]
    fn regions_start_on_huge_pages_and_hold_bytes() {
        let memory = map(3 * GIB + 4 * MIB).unwrap();
        assert_eq!(memory.num_regions(), 2);
        for region in memory.iter() {
            assert_eq!(region.as_ptr() as usize % HUGE_PAGE, 0);
            let last = GuestAddress(region.last_addr().0 - 7);
            memory.write_obj(0x0123_4567_89ab_cdef_u64, last).unwrap();
            assert_eq!(memory.read_obj::<u64>(last).unwrap(), 0x0123_4567_89ab_cdef);
        }
        assert!(memory.write_obj(0u8, GuestAddress(3 * GIB)).is_err());
    }

    #[test]
    fn more_memory_than_there_are_addresses_is_an_error() {
        assert!(matches!(map(1 << 60), Err(MemoryError::Map(..))));
    }
}
