//! Guest memory goes back to the host.
#![allow(unsafe_code, reason = "madvise takes the address of guest memory")]

use std::io;
use std::ops::Range;

use vm_memory::{GuestMemoryBackend, GuestMemoryRegion, MemoryRegionAddress};

use super::{GuestMemory, HUGE_PAGE};

/// The pages of memory that is not of hugetlbfs, in bytes.
pub const PAGE: u64 = 4096;

/// Gives every whole page within `range` (guest addresses) back to the host and tells how many bytes those
/// are. What is no memory is passed over; a page of hugetlbfs has 2 MiB. The guest finds zeroes there.
///
/// Memory is private and anonymous. A mapping that had a file behind it would show that file's content again.
pub fn discard(memory: &GuestMemory, range: Range<u64>) -> io::Result<u64> {
    let mut given = 0;
    for region in memory.iter() {
        let first = region.start_addr().0;
        let page = if region.is_hugetlbfs() == Some(true) { HUGE_PAGE as u64 } else { PAGE };
        // Regions start on a page's boundary, in the guest as on the host.
        let start = range.start.max(first).checked_next_multiple_of(page).unwrap_or(u64::MAX);
        let end = range.end.min(first.saturating_add(region.len())) / page * page;
        if start >= end {
            continue;
        }
        let length = end - start;
        let address =
            region.get_host_address(MemoryRegionAddress(start - first)).map_err(io::Error::other)?;
        let bytes = usize::try_from(length).map_err(io::Error::other)?;
        // SAFETY: `start..end` lies within the region, which stays mapped as long as `memory` lives. Nothing
        // in this process holds references into guest memory: it may change at any time, and does so here.
        if unsafe { libc::madvise(address.cast(), bytes, libc::MADV_DONTNEED) } != 0 {
            return Err(io::Error::last_os_error());
        }
        given += length;
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use vm_memory::{Bytes, GuestAddress};

    use super::*;

    const MIB: u64 = 1 << 20;

    fn memory() -> GuestMemory {
        let memory =
            GuestMemory::from_ranges(&[(GuestAddress(0), 1 << 20), (GuestAddress(2 << 20), 1 << 20)]);
        let memory = memory.unwrap();
        for page in (0..MIB).step_by(PAGE as usize) {
            memory.write_obj(7u8, GuestAddress(page)).unwrap();
            memory.write_obj(7u8, GuestAddress(2 * MIB + page)).unwrap();
        }
        memory
    }

    fn kept(memory: &GuestMemory) -> u64 {
        let pages = (0..3 * MIB).step_by(PAGE as usize);
        pages.filter(|&page| memory.read_obj::<u8>(GuestAddress(page)).is_ok_and(|byte| byte == 7)).count()
            as u64
    }

    #[test]
    fn whole_pages_go_and_their_neighbours_stay() {
        let memory = memory();
        assert_eq!(discard(&memory, PAGE + 1..4 * PAGE - 1).unwrap(), PAGE);
        assert_eq!(memory.read_obj::<u8>(GuestAddress(PAGE)).unwrap(), 7);
        assert_eq!(memory.read_obj::<u8>(GuestAddress(2 * PAGE)).unwrap(), 0);
        assert_eq!(memory.read_obj::<u8>(GuestAddress(3 * PAGE)).unwrap(), 7);
        assert_eq!(kept(&memory), 511);
    }

    #[test]
    fn what_is_no_memory_is_passed_over() {
        let memory = memory();
        for nothing in [0..0, 1..5, MIB..2 * MIB, 3 * MIB..u64::MAX, u64::MAX - 1..u64::MAX, 1..PAGE] {
            assert_eq!(discard(&memory, nothing).unwrap(), 0);
        }
        assert_eq!(kept(&memory), 512);
        // From one region over the hole into the other.
        assert_eq!(discard(&memory, MIB - PAGE..2 * MIB + PAGE).unwrap(), 2 * PAGE);
        assert_eq!(discard(&memory, 0..u64::MAX).unwrap(), 2 * MIB);
        assert_eq!(kept(&memory), 0);
    }
}
