//! The initramfs in guest memory.

use std::io::{Seek, SeekFrom};
use std::ops::Range;

use vm_memory::{Bytes, GuestAddress, ReadVolatile};

use super::{BootError, InitramfsError, kernel::low_end};
use crate::memory::GuestMemory;

const PAGE: u64 = 4096;
/// A header of cpio's format "newc", and in it the sizes of a file and of its name (Linux,
/// `Documentation/driver-api/early-userspace/buffer-format.rst`).
const HEADER: usize = 110;
const FILE_SIZE: usize = 54;
const NAME_SIZE: usize = 94;

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
    whole(memory, start, size)?;
    Ok(start..start + size)
}

/// Refuses an uncompressed archive (cpio, "newc") that ends within a file. Linux takes it without a word and starts
/// what there is of its init.
fn whole(memory: &GuestMemory, start: u64, size: u64) -> Result<(), InitramfsError> {
    let mut at = 0;
    while at < size {
        let mut header = [0; HEADER];
        let length = usize::try_from(size - at).unwrap_or(HEADER).min(HEADER);
        let Some(there) = header.get_mut(..length) else { return Ok(()) };
        memory.read_slice(there, GuestAddress(start + at))?;
        if header.starts_with(&[0; 4]) {
            // Between archives.
            at += 4;
            continue;
        }
        if !header.starts_with(b"070701") && !header.starts_with(b"070702") {
            // Compressed, or nothing that is known here: the kernel will say.
            return Ok(());
        }
        let cut = || InitramfsError::Cut { at, size };
        let (name, file) = (hexadecimal(&header, NAME_SIZE), hexadecimal(&header, FILE_SIZE));
        let (Some(name), Some(file), HEADER) = (name, file, length) else { return Err(cut()) };
        let data = (at + HEADER as u64 + name).next_multiple_of(4);
        if data + file > size {
            return Err(cut());
        }
        at = (data + file).next_multiple_of(4);
    }
    Ok(())
}

/// A field of a header: eight digits.
fn hexadecimal(header: &[u8; HEADER], at: usize) -> Option<u64> {
    let digits = header.get(at..at + 8)?;
    u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn it_lies_page_aligned_at_the_end() {
        let memory = crate::memory::map(4 << 20).unwrap();
        let range = load(&memory, &mut Cursor::new(b"\x1f\x8b packed".to_vec()), 1 << 20).unwrap();
        assert_eq!(range, (4 << 20) - 4096..(4 << 20) - 4096 + 9);
        let mut read = [0; 9];
        memory.read_slice(&mut read, GuestAddress(range.start)).unwrap();
        assert_eq!(&read, b"\x1f\x8b packed");
    }

    /// A file in an archive.
    fn file(name: &str, data: &[u8]) -> Vec<u8> {
        let mut fields = [0; 13];
        (fields[6], fields[11]) = (data.len(), name.len() + 1);
        let mut bytes = b"070701".to_vec();
        fields.iter().for_each(|field| bytes.extend(format!("{field:08x}").bytes()));
        for part in [format!("{name}\0").as_bytes(), data] {
            bytes.extend(part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn an_archive_that_ends_within_a_file_is_refused() {
        let memory = crate::memory::map(4 << 20).unwrap();
        let load = |bytes: &[u8]| load(&memory, &mut Cursor::new(bytes.to_vec()), 1 << 20);
        let files = [file("init", &[7; 1001]), file("empty", &[]), file("TRAILER!!!", &[])];
        let archive = files.concat();
        let ends: Vec<usize> = files
            .iter()
            .scan(0, |end, file| {
                *end += file.len();
                Some(*end)
            })
            .collect();
        for end in 0..=archive.len() {
            let cut = load(&archive[..end]);
            // Up to three bytes of padding, or a beginning that is none of an archive.
            let whole =
                end < 6 || ends.iter().any(|whole| (0..4).contains(&(*whole as isize - end as isize)));
            let within = ends.iter().any(|whole| (1..6).contains(&(end as isize - *whole as isize)));
            assert!(whole || within || matches!(cut, Err(InitramfsError::Cut { .. })), "{end}: {cut:?}");
            assert!(!ends.contains(&end) || cut.is_ok(), "{end}: {cut:?}");
        }
        // Two in a row with padding between, then something packed.
        assert!(load(&[archive.as_slice(), &[0; 512], &archive, b"\x1f\x8b packed"].concat()).is_ok());
        assert!(load(&[archive.as_slice(), &[0; 512], &archive[..700]].concat()).is_err());
        // Sizes that are none, or go beyond everything.
        for digits in ["ffffffff", "zzzzzzzz"] {
            let mut wrong = archive.clone();
            wrong[FILE_SIZE..FILE_SIZE + 8].copy_from_slice(digits.as_bytes());
            assert!(matches!(load(&wrong), Err(InitramfsError::Cut { at: 0, .. })), "{digits}");
        }
    }

    #[test]
    fn it_may_not_overlap_the_kernel() {
        let memory = crate::memory::map(4 << 20).unwrap();
        let mut image = Cursor::new(vec![0u8; 2 << 20]);
        assert!(matches!(load(&memory, &mut image, 3 << 20), Err(InitramfsError::TooLarge { .. })));
        assert!(matches!(load(&memory, &mut image, u64::MAX), Err(InitramfsError::TooLarge { .. })));
    }
}
