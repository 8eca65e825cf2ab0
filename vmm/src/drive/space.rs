//! Room on the host: what a drive gives back, and zeros that take none.

#![allow(unsafe_code, reason = "fallocate, ioctl and fcntl have no safe form in the crates of this tree")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use super::RawDrive;

/// Linux's `BLKDISCARD` and `BLKZEROOUT` (`linux/fs.h`): each takes offset and length in bytes.
const BLKDISCARD: libc::Ioctl = 0x1277;
const BLKZEROOUT: libc::Ioctl = 0x127f;
/// Zeros that are written at once where the host knows nothing better.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

impl RawDrive {
    /// Tells the host that nobody needs these bytes any more; what they are afterwards is open. A host that
    /// cannot use the advice is no error.
    pub fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        let done = if self.is_block_device() {
            self.range_ioctl(BLKDISCARD, offset, length)
        } else {
            self.fallocate(libc::FALLOC_FL_PUNCH_HOLE, offset, length)
        };
        done.or_else(|error| if is_unsupported(&error) { Ok(()) } else { Err(error) })
    }

    /// Makes these bytes zero, and with `unmap` gives their room back where that is possible. Returns how
    /// many of them had to be written one by one.
    pub fn zero(&self, offset: u64, length: u64, unmap: bool) -> io::Result<u64> {
        let mut ways: [Option<libc::c_int>; 2] = [None, Some(libc::FALLOC_FL_ZERO_RANGE)];
        if unmap {
            ways[0] = Some(libc::FALLOC_FL_PUNCH_HOLE);
        }
        for mode in ways.into_iter().flatten() {
            let done = match self.fallocate(mode, offset, length) {
                Err(error) if self.is_block_device() && is_unsupported(&error) => {
                    self.range_ioctl(BLKZEROOUT, offset, length)
                }
                other => other,
            };
            match done {
                Err(error) if is_unsupported(&error) => {}
                other => return other.map(|()| 0),
            }
        }
        write_zeros(self.file(), offset, length)?;
        Ok(length)
    }

    /// Never changes the file's size.
    fn fallocate(&self, mode: libc::c_int, offset: u64, length: u64) -> io::Result<()> {
        let (offset, length) = (signed(offset)?, signed(length)?);
        let mode = mode | libc::FALLOC_FL_KEEP_SIZE;
        again(|| {
            // SAFETY: no pointers; the descriptor is that of a file which lives as long as `self`.
            unsafe { libc::fallocate64(self.file().as_raw_fd(), mode, offset, length) }
        })
    }

    fn range_ioctl(&self, request: libc::Ioctl, offset: u64, length: u64) -> io::Result<()> {
        let range = [offset, length];
        again(|| {
            // SAFETY: both requests read two 64-bit numbers from the pointer, which is to two live ones.
            unsafe { libc::ioctl(self.file().as_raw_fd(), request, range.as_ptr()) }
        })
    }
}

/// Writes zeros, one piece after the other.
pub(super) fn write_zeros(file: &File, mut offset: u64, length: u64) -> io::Result<()> {
    let end = offset.checked_add(length).ok_or(io::ErrorKind::InvalidInput)?;
    while offset < end {
        let count = usize::try_from(end - offset).unwrap_or(usize::MAX).min(ZEROS.len());
        file.write_all_at(ZEROS.get(..count).unwrap_or(&ZEROS), offset)?;
        offset += count as u64;
    }
    Ok(())
}

/// Lets reads and writes of `file` wait for the disk.
pub(super) fn make_blocking(file: &File) -> io::Result<()> {
    // SAFETY: no pointers; the descriptor is open for as long as the borrow.
    let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above.
    again(|| unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags & !libc::O_NONBLOCK) })
}

/// Whether the host (its file system, its disk) cannot do this at all, here: other ways may work.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL | libc::ENOTTY))
}

fn signed(number: u64) -> io::Result<i64> {
    i64::try_from(number).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Calls `call` until no signal is in its way.
fn again(mut call: impl FnMut() -> libc::c_int) -> io::Result<()> {
    loop {
        if call() >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    const SIZE: usize = 1 << 20;

    fn drive(folder: &str) -> RawDrive {
        let file = tempfile::tempfile_in(folder).unwrap();
        file.write_all_at(&vec![0xaa; SIZE], 0).unwrap();
        file.sync_all().unwrap();
        RawDrive::from_file(file).unwrap()
    }

    fn bytes(drive: &RawDrive) -> Vec<u8> {
        let mut bytes = vec![1; SIZE];
        drive.file().read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    fn blocks(drive: &RawDrive) -> u64 {
        drive.file().metadata().unwrap().blocks()
    }

    #[test]
    fn holes_are_zero_and_take_no_room_and_the_size_stays() {
        // A temporary file system knows holes and no ranges of zeros; others know both.
        for folder in ["/dev/shm", "/tmp"] {
            let drive = drive(folder);
            let before = blocks(&drive);
            drive.discard(4096, 64 << 10).unwrap();
            assert_eq!(drive.zero(512 << 10, 256 << 10, true).unwrap(), 0);
            assert!(blocks(&drive) + (300 << 10) / 512 <= before, "{folder}: {before} {}", blocks(&drive));
            drive.zero((1 << 20) - 1024, 1024, false).unwrap();
            drive.zero(512, 512, false).unwrap();
            let bytes = bytes(&drive);
            let zero = |range: std::ops::Range<usize>| bytes[range].iter().all(|&byte| byte == 0);
            assert!(zero(512 << 10..768 << 10) && zero(SIZE - 1024..SIZE) && zero(512..1024));
            assert!(bytes[..512].iter().chain(&bytes[1024..4096]).all(|&byte| byte == 0xaa));
            assert_eq!(drive.file().metadata().unwrap().len(), SIZE as u64);
        }
    }

    #[test]
    fn zeros_are_written_where_there_is_no_other_way() {
        let drive = drive("/dev/shm");
        assert_eq!(drive.zero(512, 200 << 10, false).unwrap(), 200 << 10);
        let bytes = bytes(&drive);
        assert!(bytes[512..512 + (200 << 10)].iter().all(|&byte| byte == 0));
        assert!(bytes[512 + (200 << 10)..].iter().all(|&byte| byte == 0xaa));
    }

    #[test]
    fn ranges_beyond_every_file_are_refused() {
        let drive = drive("/dev/shm");
        drive.discard(u64::MAX, 512).unwrap_err();
        drive.zero(512, u64::MAX, true).unwrap_err();
        assert_eq!(drive.file().metadata().unwrap().len(), SIZE as u64);
    }
}
