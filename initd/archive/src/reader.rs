//! Reads a stream entry by entry.

use std::io::{self, Read};

use crate::header::{self, BLOCK, Header};
use crate::limits::{MAX_EXTENSION, MAX_EXTENSIONS};
use crate::pax::{self, Pax};
use crate::{ArchiveError, Entry, Kind};

/// The entries of a stream; reading gives the bytes of the present one.
#[derive(Debug)]
pub struct Reader<R> {
    stream: R,
    /// What is left of the present entry's bytes, without what fills its last block.
    left: u64,
    padding: u64,
}

impl<R: Read> Reader<R> {
    /// Of this stream.
    pub fn new(stream: R) -> Self {
        Self { stream, left: 0, padding: 0 }
    }

    /// The next entry, or none at the end. What was not read of the present one is skipped.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ArchiveError> {
        let mut pax = Pax::default();
        for _ in 0..=MAX_EXTENSIONS {
            let Some(header) = self.header()? else { return Ok(None) };
            let size = header.size()?;
            match header.letter() {
                b'x' => pax = pax::read(&self.extension(size)?)?,
                // Defaults for later entries: nobody writes any that matter here.
                b'g' => drop(self.extension(size)?),
                b'L' => pax.path = Some(until_nul(self.extension(size)?)),
                b'K' => pax.link = Some(until_nul(self.extension(size)?)),
                letter => return self.entry(&header, letter, pax).map(Some),
            }
        }
        Err(ArchiveError::Header("it has too many extended headers before it"))
    }

    /// The stream.
    pub fn into_inner(self) -> R {
        self.stream
    }

    fn entry(&mut self, header: &Header, letter: u8, pax: Pax) -> Result<Entry, ArchiveError> {
        let name = pax.path.unwrap_or_else(|| header.name());
        let ([mode, uid, gid], mtime) = header.numbers()?;
        let size = pax.size.map_or_else(|| header.size(), Ok)?;
        let kind = header::kind(letter, size, pax.link.unwrap_or_else(|| header.link()), &name)?;
        // Files alone have bytes; what old archives tell as a size of others means nothing.
        self.left = if let Kind::File(size) = kind { size } else { 0 };
        self.padding = self.left.wrapping_neg() % BLOCK as u64;
        Ok(Entry {
            name,
            kind,
            mode: mode & 0o7777,
            uid: pax.uid.unwrap_or(uid),
            gid: pax.gid.unwrap_or(gid),
            mtime: pax.mtime.unwrap_or(mtime),
        })
    }

    fn header(&mut self) -> Result<Option<Header>, ArchiveError> {
        let skip = self.left.saturating_add(self.padding);
        (self.left, self.padding) = (0, 0);
        let skipped = io::copy(&mut (&mut self.stream).take(skip), &mut io::sink());
        if skipped.map_err(ArchiveError::Read)? < skip {
            return Err(ArchiveError::Short);
        }
        let mut header = Header([0; BLOCK]);
        self.stream.read_exact(&mut header.0).map_err(short)?;
        if header.0 == [0; BLOCK] {
            return Ok(None);
        }
        header.check().map(|()| Some(header))
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, ArchiveError> {
        if size > MAX_EXTENSION {
            return Err(ArchiveError::Header("its extended header is too long"));
        }
        let padded = usize::try_from(size.next_multiple_of(BLOCK as u64)).unwrap_or_default();
        let mut bytes = vec![0; padded];
        self.stream.read_exact(&mut bytes).map_err(short)?;
        bytes.truncate(usize::try_from(size).unwrap_or_default());
        Ok(bytes)
    }
}

/// The bytes of the present entry.
impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if length == 0 {
            return Ok(0);
        }
        let read = self.stream.read(&mut buffer[..length])?;
        self.left -= read as u64;
        match read {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => Ok(read),
        }
    }
}

fn short(error: io::Error) -> ArchiveError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ArchiveError::Short,
        _ => ArchiveError::Read(error),
    }
}

fn until_nul(mut name: Vec<u8>) -> Vec<u8> {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    name.truncate(end);
    name
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
