//! Host memory behind the guest's.
#![allow(unsafe_code, reason = "mmap with a chosen alignment, which vm-memory cannot ask for")]

use std::io;
use std::ptr::null_mut;

use vm_memory::mmap::{MmapRegionBuilder, MmapRegionError};
use vm_memory::{GuestAddress, GuestRegionMmap};

use super::{GuestMemory, layout};

/// A huge page. Host and guest addresses that agree below it let the processor use one translation for it.
pub const HUGE_PAGE: usize = 2 << 20;

/// Where Linux counts huge pages of that size.
const POOL: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";

/// What may go wrong with the guest's memory.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The host has no room.
    #[error("Cannot reserve {0} bytes of memory for the guest")]
    Map(u64, #[source] io::Error),
    /// The host's pool of huge pages is too small, or is not there.
    #[error("The guest needs {needed} huge pages of 2 MiB, and the host has {free} that are free ({POOL})")]
    HugePages {
        /// How many it takes.
        needed: u64,
        /// How many nobody uses or has reserved.
        free: u64,
        /// The cause.
        #[source]
        source: io::Error,
    },
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
/// Without `MAP_NORESERVE`: a pool that is too small is found now, not by a signal later.
const HUGE_FLAGS: libc::c_int =
    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB | libc::MAP_HUGE_2MB;

/// As [`map`], of huge pages that the host has set apart (hugetlbfs). `size` must be a multiple of theirs.
pub fn map_huge(size: u64) -> Result<GuestMemory, MemoryError> {
    let mut regions = Vec::new();
    for range in layout::ram(size).into_iter().filter(|range| !range.is_empty()) {
        let length = usize::try_from(range.end - range.start)
            .map_err(|_| MemoryError::Map(size, io::ErrorKind::OutOfMemory.into()))?;
        let region = MmapRegionBuilder::<()>::new(length)
            .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
            .with_mmap_flags(HUGE_FLAGS)
            .with_hugetlbfs(true)
            .build()
            .map_err(|error| refused(size, error))?;
        keep_out_of_core_files(region.as_ptr(), length);
        let region = GuestRegionMmap::new(region, GuestAddress(range.start))
            .ok_or_else(|| MemoryError::Layout(size, "address overflow".into()))?;
        regions.push(region);
    }
    GuestMemory::from_regions(regions).map_err(|error| MemoryError::Layout(size, error.into()))
}

/// Why there are no huge pages for `size` bytes.
fn refused(size: u64, error: MmapRegionError) -> MemoryError {
    let MmapRegionError::Mmap(source) = error else {
        return MemoryError::Layout(size, error.into());
    };
    let count = |name| {
        let text = std::fs::read_to_string(format!("{POOL}/{name}")).unwrap_or_default();
        text.trim().parse::<u64>().unwrap_or(0)
    };
    let free = count("free_hugepages").saturating_sub(count("resv_hugepages"));
    MemoryError::HugePages { needed: size / HUGE_PAGE as u64, free, source }
}

fn keep_out_of_core_files(start: *mut u8, length: usize) {
    // SAFETY: Advice on a mapping of ours changes no content.
    unsafe { libc::madvise(start.cast(), length, libc::MADV_DONTDUMP) };
}

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
    // SAFETY: Advice on a mapping of ours changes no content.
    unsafe { libc::madvise(aligned.cast(), length, libc::MADV_HUGEPAGE) };
    keep_out_of_core_files(aligned, length);
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
    fn huge_pages_are_there_or_missed_in_one_sentence() {
        match map_huge(4 * MIB) {
            Ok(memory) => {
                memory.write_obj(7u8, GuestAddress(4 * MIB - 1)).unwrap();
                assert_eq!(crate::memory::discard(&memory, 4096..2 * MIB).unwrap(), 0);
                assert_eq!(crate::memory::discard(&memory, 4096..4 * MIB).unwrap(), 2 * MIB);
                assert_eq!(memory.read_obj::<u8>(GuestAddress(4 * MIB - 1)).unwrap(), 0);
            }
            Err(error) => {
                let expected = "The guest needs 2 huge pages of 2 MiB, and the host has ";
                assert!(error.to_string().starts_with(expected), "{error}");
            }
        }
        // More than any pool has.
        let error = map_huge(1 << 50).unwrap_err().to_string();
        assert!(error.starts_with("The guest needs 536870912 huge pages"), "{error}");
    }

    #[test]
    fn more_memory_than_there_are_addresses_is_an_error() {
        assert!(matches!(map(1 << 60), Err(MemoryError::Map(..))));
    }
}
