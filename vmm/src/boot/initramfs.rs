//! The initramfs in guest memory.

use std::io::{Seek, SeekFrom};
use std::ops::Range;

use vm_memory::{Bytes, GuestAddress, ReadVolatile};

use super::{BootError, InitramfsError, kernel::low_end};
use crate::memory::GuestMemory;

const PAGE: u64 = 4096;

/// Reads the initramfs to the end of low memory, above `kernel_end`. `name` is for messages.
pub fn load_initramfs(
    memory: &GuestMemory,
    image: &mut (impl ReadVolatile + Seek),
    name: &str,
    kernel_end: u64,
) -> Result<Range<u64>, BootError> {
    load(memory, image, kernel_end).map_err(|error| BootError::Initramfs(name.to_owned(), error))
}

fn load(
    memory: &GuestMemory,
    image: &mut (impl ReadVolatile + Seek),
    kernel_end: u64,
) -> Result<Range<u64>, InitramfsError> {
    let size = image.seek(SeekFrom::End(0))?;
    image.rewind()?;
    let memory_end = low_end(memory);
    let too_large = || InitramfsError::TooLarge { size, kernel_end, memory_end };
    let start = memory_end.checked_sub(size).ok_or_else(too_large)? & !(PAGE - 1);
    if start < kernel_end {
        return Err(too_large());
    }
    let length = usize::try_from(size).map_err(|_| too_large())?;
    memory.read_exact_volatile_from(GuestAddress(start), image, length)?;
    Ok(start..start + size)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn it_lies_page_aligned_at_the_end() {
        let memory = crate::memory::map(4 << 20).unwrap();
        let range = load(&memory, &mut Cursor::new(b"070701 cpio".to_vec()), 1 << 20).unwrap();
        assert_eq!(range, (4 << 20) - 4096..(4 << 20) - 4096 + 11);
        let mut read = [0; 6];
        memory.read_slice(&mut read, GuestAddress(range.start)).unwrap();
        assert_eq!(&read, b"070701");
    }

    #[test]
    fn it_may_not_overlap_the_kernel() {
        let memory = crate::memory::map(4 << 20).unwrap();
        let mut image = Cursor::new(vec![0u8; 2 << 20]);
        assert!(matches!(load(&memory, &mut image, 3 << 20), Err(InitramfsError::TooLarge { .. })));
        assert!(matches!(load(&memory, &mut image, u64::MAX), Err(InitramfsError::TooLarge { .. })));
    }
}
