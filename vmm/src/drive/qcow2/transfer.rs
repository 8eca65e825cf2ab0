//! The data of a request, wherever they are.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::drive::space::write_zeros;

/// The data of a request, used up from its start.
pub trait Transfer {
    /// Fills the next `count` bytes from `file` at `offset`.
    fn read(&mut self, file: &File, offset: u64, count: u64) -> io::Result<()>;
    /// Fills the next `count` bytes with zeros.
    fn zeros(&mut self, count: u64) -> io::Result<()>;
    /// Writes the next `count` bytes to `file` at `offset`.
    fn write(&mut self, file: &File, offset: u64, count: u64) -> io::Result<()>;
}

/// Bytes of our own.
pub struct Bytes<'a>(pub &'a mut [u8]);

impl Bytes<'_> {
    fn next(&mut self, count: u64) -> io::Result<&mut [u8]> {
        let bytes = std::mem::take(&mut self.0);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let (now, later) = bytes.split_at_mut_checked(count).ok_or(io::ErrorKind::InvalidInput)?;
        self.0 = later;
        Ok(now)
    }
}

impl Transfer for Bytes<'_> {
    fn read(&mut self, file: &File, offset: u64, count: u64) -> io::Result<()> {
        file.read_exact_at(self.next(count)?, offset)
    }

    fn zeros(&mut self, count: u64) -> io::Result<()> {
        self.next(count)?.fill(0);
        Ok(())
    }

    fn write(&mut self, file: &File, offset: u64, count: u64) -> io::Result<()> {
        file.write_all_at(self.next(count)?, offset)
    }
}

/// Zeros without end, to be written.
pub struct Zeros;

impl Transfer for Zeros {
    fn read(&mut self, _file: &File, _offset: u64, _count: u64) -> io::Result<()> {
        Ok(())
    }

    fn zeros(&mut self, _count: u64) -> io::Result<()> {
        Ok(())
    }

    fn write(&mut self, file: &File, offset: u64, count: u64) -> io::Result<()> {
        write_zeros(file, offset, count)
    }
}
