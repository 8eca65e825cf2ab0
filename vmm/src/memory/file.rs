//! A host's file as a piece of the guest's memory.
#![allow(unsafe_code, reason = "mmap of a file at a chosen place; see each block")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::null_mut;

/// What the length of a region of persistent memory is a multiple of: Linux maps it by huge pages.
pub const ALIGNMENT: u64 = 2 << 20;

/// A file mapped into this process, for the guest alone: nothing here reads or writes it, since a file that
/// is cut short meanwhile would end the process. What the guest writes is the file's (`MAP_SHARED`). Behind
/// the file's last page, up to the next multiple of [`ALIGNMENT`], is memory that belongs to no file.
#[derive(Debug)]
pub struct FileMapping {
    start: *mut libc::c_void,
    length: usize,
    read_only: bool,
}

// SAFETY: the pointer is to a mapping of the process that belongs to no thread, and is not followed here.
unsafe impl Send for FileMapping {}
// SAFETY: as above.
unsafe impl Sync for FileMapping {}

impl FileMapping {
    /// Maps the first `size` bytes of `file`; it must be open for writing unless it is `read_only`.
    pub fn new(file: &File, size: u64, read_only: bool) -> io::Result<FileMapping> {
        let too_large = || io::Error::from(io::ErrorKind::OutOfMemory);
        if size == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is empty"));
        }
        let length = size.checked_next_multiple_of(ALIGNMENT).ok_or_else(too_large)?;
        let length = usize::try_from(length).map_err(|_| too_large())?;
        let size = usize::try_from(size).map_err(|_| too_large())?;
        let protection = if read_only { libc::PROT_READ } else { libc::PROT_READ | libc::PROT_WRITE };
        let place = Place::reserve(length, protection)?;
        let flags = libc::MAP_SHARED | libc::MAP_NORESERVE | libc::MAP_FIXED;
        // SAFETY: replaces the first `size` bytes of a mapping that `place` owns and nobody else knows.
        let start = unsafe { libc::mmap(place.aligned(), size, protection, flags, file.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        place.trim(length);
        // Without huge pages, and with the file in core dumps, the guest runs all the same.
        // SAFETY: advice on a mapping of ours changes no content.
        unsafe { libc::madvise(start, length, libc::MADV_DONTDUMP) };
        Ok(FileMapping { start, length, read_only })
    }

    /// Where it is in this process.
    pub fn host_address(&self) -> u64 {
        self.start as u64
    }

    /// How long it is in bytes; a multiple of [`ALIGNMENT`].
    pub fn length(&self) -> u64 {
        self.length as u64
    }

    /// Whether the guest may not write to it.
    pub fn read_only(&self) -> bool {
        self.read_only
    }
}

impl Drop for FileMapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's own; the machine that saw it holds it, so that it is gone.
        unsafe { libc::munmap(self.start, self.length) };
    }
}

/// Addresses that are taken, with room to start on a multiple of [`ALIGNMENT`].
struct Place {
    start: *mut libc::c_void,
    length: usize,
}

impl Place {
    fn reserve(length: usize, protection: libc::c_int) -> io::Result<Place> {
        let length = length.checked_add(ALIGNMENT as usize).ok_or(io::ErrorKind::OutOfMemory)?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing that exists.
        let start = unsafe { libc::mmap(null_mut(), length, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(Place { start, length }) }
    }

    /// The first address on a boundary.
    fn aligned(&self) -> *mut libc::c_void {
        self.start.wrapping_byte_add(self.start.cast::<u8>().align_offset(ALIGNMENT as usize))
    }

    /// Gives back everything but `length` bytes from the boundary on, which are the caller's from now on.
    fn trim(self, length: usize) {
        let head = self.aligned() as usize - self.start as usize;
        let tail = self.length - head - length;
        let end = self.aligned().wrapping_byte_add(length);
        for (start, length) in [(self.start, head), (end, tail)] {
            if length > 0 {
                // SAFETY: a part of the reservation that nobody has a pointer into.
                unsafe { libc::munmap(start, length) };
            }
        }
        std::mem::forget(self);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // SAFETY: the reservation is this one's own, and nobody has a pointer into it.
        unsafe { libc::munmap(self.start, self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_any_size_fill_whole_huge_pages() {
        let file = tempfile::tempfile().unwrap();
        for (size, length) in [(1, ALIGNMENT), (4097, ALIGNMENT), (ALIGNMENT, ALIGNMENT), (5 << 20, 6 << 20)]
        {
            file.set_len(size).unwrap();
            for read_only in [false, true] {
                let mapping = FileMapping::new(&file, size, read_only).unwrap();
                assert_eq!((mapping.length(), mapping.host_address() % ALIGNMENT), (length, 0));
                assert_eq!(mapping.read_only(), read_only);
            }
        }
    }

    #[test]
    fn what_cannot_be_mapped_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(FileMapping::new(&file, 0, true).unwrap_err().to_string(), "it is empty");
        FileMapping::new(&file, u64::MAX, true).unwrap_err();
        FileMapping::new(&file, 1 << 62, true).unwrap_err();
        let read_only = File::open("/proc/self/exe").unwrap();
        FileMapping::new(&read_only, 4096, false).unwrap_err();
        FileMapping::new(&read_only, 4096, true).unwrap();
    }
}
