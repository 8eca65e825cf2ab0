//! Raw disks: the holes of files are passed over, and zeros become holes.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use rustix::fs::SeekFrom;

use super::{DiskError, PIECE};
use crate::limits::Limits;

/// Zeros become holes in units of this many bytes.
const BLOCK: usize = 4096;

/// What pieces are shown to.
type Show<'s> = dyn FnMut(u64, &[u8]) -> Result<(), DiskError> + 's;

/// Shows the pieces of a file that are not holes; returns its size.
pub(super) fn each_piece(
    file: &File,
    name: &str,
    limits: &Limits,
    show: &mut Show<'_>,
) -> Result<u64, DiskError> {
    let failed = |error| DiskError::Read(name.to_owned(), error);
    let size = file.metadata().map_err(failed)?.len();
    if size > limits.size {
        return Err(DiskError::Large(name.to_owned(), limits.size));
    }
    let mut piece = vec![0; usize::try_from(PIECE).unwrap_or_default()];
    let mut offset = 0;
    while let Some(data) = next_data(file, offset).map_err(failed)?.filter(|data| *data < size) {
        offset = data - data % PIECE;
        let length = usize::try_from(PIECE.min(size - offset)).unwrap_or_default();
        file.read_exact_at(&mut piece[..length], offset).map_err(failed)?;
        show(offset, &piece[..length])?;
        offset += PIECE;
    }
    Ok(size)
}

/// Where the next data is from `offset` on.
fn next_data(file: &File, offset: u64) -> io::Result<Option<u64>> {
    match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(data) => Ok(Some(data)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        // A file system that does not know of holes.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => Ok(Some(offset)),
        Err(error) => Err(error.into()),
    }
}

/// Shows the pieces of a stream; returns how long it was.
pub(super) fn each_streamed(
    reader: &mut dyn Read,
    name: &str,
    limits: &Limits,
    show: &mut Show<'_>,
) -> Result<u64, DiskError> {
    let mut piece = Vec::new();
    let mut size = 0;
    loop {
        piece.clear();
        let read = reader.take(PIECE).read_to_end(&mut piece);
        let read = read.map_err(|error| DiskError::Read(name.to_owned(), error))? as u64;
        if read == 0 {
            return Ok(size);
        }
        if size + read > limits.size {
            return Err(DiskError::Large(name.to_owned(), limits.size));
        }
        show(size, &piece)?;
        size += read;
    }
}

/// Writes what is not zero; the rest stays a hole.
pub(super) fn write(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let mut at = offset;
    for block in bytes.chunks(BLOCK) {
        if block.iter().any(|byte| *byte != 0) {
            file.write_all_at(block, at)?;
        }
        at += block.len() as u64;
    }
    Ok(())
}
