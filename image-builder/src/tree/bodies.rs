//! The bodies of files: in one unnamed file beside the output, until it is known where each of them goes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use thiserror::Error;

/// Bodies are read in pieces of this many bytes.
const PIECE: usize = 64 << 10;

/// A run of zeros becomes a hole from this length on, in bytes.
const MIN_HOLE: u64 = 1 << 20;

/// How many stretches of data one file may consist of.
const MAX_EXTENTS: usize = 1 << 16;

/// Why a body cannot be stored.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Its source.
    #[error("its content cannot be read")]
    Read(#[source] io::Error),
    /// The spill file.
    #[error("its content cannot be written to the temporary file beside the output")]
    Write(#[source] io::Error),
    /// The limit of the spill file.
    #[error("the files are larger than {0} bytes together")]
    TooLarge(u64),
    /// The limit of stretches.
    #[error("it has more than 65536 holes")]
    Holes,
}

/// Where a file's body is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Body {
    /// The file's size in bytes, holes included.
    pub size: u64,
    /// The checksum of the data.
    pub crc: u32,
    /// Where the data starts in the spill file.
    start: u64,
    /// The stretches of data, in their order; none means that all of it is data.
    extents: Option<Box<[Stretch]>>,
}

/// A stretch of data and where it starts in the spill file, counted from the start of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stretch {
    extent: Extent,
    at: u64,
}

/// A stretch of data in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where in the file, in bytes.
    pub offset: u64,
    /// How long, in bytes.
    pub length: u64,
}

impl Extent {
    /// The first byte behind it.
    pub fn end(&self) -> u64 {
        self.offset + self.length
    }
}

impl Body {
    /// The stretches of data, where the file has holes.
    pub fn extents(&self) -> Option<impl Iterator<Item = Extent>> {
        self.extents.as_ref().map(|stretches| stretches.iter().map(|stretch| stretch.extent))
    }
}

/// The spill file.
#[derive(Debug)]
pub struct Bodies {
    file: File,
    length: u64,
    limit: u64,
    pending: Vec<u8>,
}

impl Bodies {
    /// Makes the spill file in `folder`, without a name. It takes `limit` bytes at most.
    pub fn new(folder: &Path, limit: u64) -> io::Result<Self> {
        Ok(Self { file: tempfile::tempfile_in(folder)?, length: 0, limit, pending: Vec::new() })
    }

    /// Stores a body that consists of the stretches `map`, whose bytes follow one another in `reader`.
    /// The caller has checked that the stretches are in order and end within `size`.
    pub fn store(&mut self, size: u64, map: &[Extent], reader: &mut impl Read) -> Result<Body, StoreError> {
        let mut stored = Storing { start: self.length, crc: crc32fast::Hasher::new(), stretches: Vec::new() };
        let mut piece = vec![0; PIECE.min(usize::try_from(size).unwrap_or(PIECE))];
        for extent in map {
            let (mut offset, end) = (extent.offset, extent.offset + extent.length);
            let mut zeros = 0;
            while offset < end {
                let length = (end - offset).min(PIECE as u64);
                let piece = &mut piece[..usize::try_from(length).unwrap_or(PIECE)];
                reader.read_exact(piece).map_err(StoreError::Read)?;
                offset += length;
                if piece.iter().all(|byte| *byte == 0) {
                    zeros += length;
                    continue;
                }
                self.zeros(&mut stored, offset - length, zeros)?;
                zeros = 0;
                self.data(&mut stored, offset - length, piece)?;
            }
            self.zeros(&mut stored, offset, zeros)?;
        }
        let all = Extent { offset: 0, length: size };
        let whole = size == 0 || matches!(*stored.stretches, [only] if only.extent == all);
        let extents = (!whole).then(|| stored.stretches.into_boxed_slice());
        Ok(Body { size, crc: stored.crc.finalize(), start: stored.start, extents })
    }

    /// A run of `length` zeros that ends at `end`: a hole where it is long, data where it is not.
    fn zeros(&mut self, stored: &mut Storing, end: u64, length: u64) -> Result<(), StoreError> {
        static ZEROS: [u8; PIECE] = [0; PIECE];
        if length >= MIN_HOLE {
            return Ok(());
        }
        let mut left = length;
        while left > 0 {
            let part = left.min(PIECE as u64);
            self.data(stored, end - left, &ZEROS[..usize::try_from(part).unwrap_or(PIECE)])?;
            left -= part;
        }
        Ok(())
    }

    fn data(&mut self, stored: &mut Storing, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let length = bytes.len() as u64;
        let full = stored.stretches.len() == MAX_EXTENTS;
        match stored.stretches.last_mut() {
            Some(Stretch { extent: last, .. }) if last.offset + last.length == offset => {
                last.length += length;
            }
            _ if full => return Err(StoreError::Holes),
            _ => {
                let extent = Extent { offset, length };
                stored.stretches.push(Stretch { extent, at: self.length - stored.start });
            }
        }
        if self.length + length > self.limit {
            return Err(StoreError::TooLarge(self.limit));
        }
        stored.crc.update(bytes);
        self.length += length;
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= 16 * PIECE { self.flush().map_err(StoreError::Write) } else { Ok(()) }
    }

    /// Hands everything to the file; to be called before the first reading.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.pending)?;
        self.pending.clear();
        Ok(())
    }

    /// Reads `buffer` full from a body's `offset` on; holes and what lies behind the end are zeros.
    pub fn read(&self, body: &Body, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let whole = [Stretch { extent: Extent { offset: 0, length: body.size }, at: 0 }];
        let end = offset + buffer.len() as u64;
        if body.extents.is_some() || end > body.size {
            buffer.fill(0);
        }
        let stretches = body.extents.as_deref().unwrap_or(&whole);
        let first = stretches.partition_point(|stretch| stretch.extent.end() <= offset);
        for Stretch { extent, at } in &stretches[first..] {
            if extent.offset >= end {
                break;
            }
            let (from, to) = (extent.offset.max(offset), extent.end().min(end));
            let index = |position: u64| usize::try_from(position - offset).unwrap_or(usize::MAX);
            let place = body.start + at + (from - extent.offset);
            self.file.read_exact_at(&mut buffer[index(from)..index(to)], place)?;
        }
        Ok(())
    }

    /// Copies `length` bytes of a body from `offset` on to `out`; holes and what lies behind the end are zeros.
    pub fn copy(&self, body: &Body, offset: u64, length: u64, out: &mut impl Write) -> io::Result<()> {
        let mut piece = vec![0; usize::try_from(length).unwrap_or(PIECE).min(PIECE)];
        let mut done = 0;
        while done < length {
            let part = piece.len().min(usize::try_from(length - done).unwrap_or(PIECE));
            self.read(body, offset + done, &mut piece[..part])?;
            out.write_all(&piece[..part])?;
            done += part as u64;
        }
        Ok(())
    }
}

struct Storing {
    start: u64,
    crc: crc32fast::Hasher,
    stretches: Vec<Stretch>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies() -> Bodies {
        Bodies::new(&std::env::temp_dir(), 64 << 20).unwrap()
    }

    fn content(bodies: &Bodies, body: &Body) -> Vec<u8> {
        let mut bytes = vec![1; usize::try_from(body.size).unwrap() + 10];
        bodies.read(body, 0, &mut bytes).unwrap();
        assert_eq!(bytes.split_off(bytes.len() - 10), [0; 10]);
        bytes
    }

    #[test]
    fn bodies_come_back_with_their_holes() {
        let mut bodies = bodies();
        let mut holed = vec![7; 3 << 20];
        holed[100_000..2 << 20].fill(0);
        let cases = [vec![], vec![1, 2, 3], vec![0; 70_000], vec![0; 2 << 20], holed];
        let whole = |bytes: &Vec<u8>| [Extent { offset: 0, length: bytes.len() as u64 }];
        let stored: Vec<_> = cases
            .iter()
            .map(|bytes| bodies.store(bytes.len() as u64, &whole(bytes), &mut &bytes[..]).unwrap())
            .collect();
        bodies.flush().unwrap();
        for (bytes, body) in cases.iter().zip(&stored) {
            assert!(content(&bodies, body) == *bytes, "{} bytes", bytes.len());
        }
        let holes: Vec<_> = stored.iter().map(|body| body.extents().map(Iterator::count)).collect();
        assert_eq!(holes, [None, None, None, Some(0), Some(2)]);
    }

    #[test]
    fn a_map_of_holes_is_obeyed() {
        let mut bodies = bodies();
        let map = [Extent { offset: 512, length: 4 }, Extent { offset: 9000, length: 2 }];
        let body = bodies.store(10_000, &map, &mut &b"abcdef"[..]).unwrap();
        bodies.flush().unwrap();
        let bytes = content(&bodies, &body);
        assert_eq!((&bytes[512..517], &bytes[8999..9003]), (&b"abcd\0"[..], &b"\0ef\0"[..]));
        assert_eq!(bytes.iter().filter(|byte| **byte != 0).count(), 6);
    }

    #[test]
    fn more_than_the_limit_is_refused() {
        let mut bodies = Bodies::new(&std::env::temp_dir(), 10).unwrap();
        let map = [Extent { offset: 0, length: 11 }];
        assert!(bodies.store(11, &map, &mut &b"0123456789a"[..]).is_err());
    }
}
