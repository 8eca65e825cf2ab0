//! Writes a stream entry by entry.

use std::io::{self, Read, Write};

use crate::header::{BLOCK, Header, MAX_LONG, MAX_SHORT};
use crate::{ArchiveError, Entry, Kind, pax};

/// How much is written at once.
const CHUNK: usize = 64 << 10;

/// Where entries go.
#[derive(Debug)]
pub struct Writer<W> {
    stream: W,
}

impl<W: Write> Writer<W> {
    /// To this stream.
    pub fn new(stream: W) -> Self {
        Self { stream }
    }

    /// Writes what stands before an entry's bytes.
    pub fn begin(&mut self, entry: &Entry) -> Result<(), ArchiveError> {
        let (letter, size, link) = match &entry.kind {
            Kind::File(size) => (b'0', *size, &[][..]),
            Kind::Folder => (b'5', 0, &[][..]),
            Kind::Symlink(target) => (b'2', 0, target.as_slice()),
            Kind::HardLink(target) => (b'1', 0, target.as_slice()),
            Kind::Special(what) => return Err(ArchiveError::refused(&entry.name, what)),
        };
        let mut records = Vec::new();
        if entry.name.len() > 100 {
            records.extend(pax::record("path", &entry.name));
        }
        if link.len() > 100 {
            records.extend(pax::record("linkpath", link));
        }
        if size > MAX_LONG {
            records.extend(pax::record("size", size.to_string().as_bytes()));
        }
        for (key, id) in [("uid", entry.uid), ("gid", entry.gid)] {
            if u64::from(id) > MAX_SHORT {
                records.extend(pax::record(key, id.to_string().as_bytes()));
            }
        }
        let mtime = u64::try_from(entry.mtime).ok().filter(|mtime| *mtime <= MAX_LONG);
        if mtime.is_none() {
            records.extend(pax::record("mtime", entry.mtime.to_string().as_bytes()));
        }
        let write = |error| ArchiveError::Write(error);
        if !records.is_empty() {
            let mut extended = Header::new(b'x');
            extended.fill(b"pax", b"", [0o644, 0, 0, records.len() as u64, 0]);
            self.stream.write_all(&extended.0).map_err(write)?;
            records.resize(records.len().next_multiple_of(BLOCK), 0);
            self.stream.write_all(&records).map_err(write)?;
        }
        let mut header = Header::new(letter);
        let numbers = [entry.mode.into(), entry.uid.into(), entry.gid.into(), size, mtime.unwrap_or(0)];
        header.fill(&entry.name, link, numbers);
        self.stream.write_all(&header.0).map_err(write)
    }

    /// Writes a file's bytes: exactly so many, of a source that may have grown since.
    pub fn body(&mut self, name: &[u8], size: u64, mut source: impl Read) -> Result<(), ArchiveError> {
        let mut chunk = vec![0; CHUNK.min(usize::try_from(size).unwrap_or(CHUNK))];
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(CHUNK).min(chunk.len());
            match source.read(&mut chunk[..most]) {
                Ok(0) => return Err(ArchiveError::refused(name, "it became shorter while it was read")),
                Ok(length) => {
                    self.stream.write_all(&chunk[..length]).map_err(ArchiveError::Write)?;
                    left -= length as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ArchiveError::file("read", name)(error)),
            }
        }
        let padding = usize::try_from(size.wrapping_neg() % BLOCK as u64).unwrap_or(0);
        self.stream.write_all(&[0; BLOCK][..padding]).map_err(ArchiveError::Write)
    }

    /// Marks the end, and gives the stream back.
    pub fn finish(mut self) -> Result<W, ArchiveError> {
        let written = self.stream.write_all(&[0; 2 * BLOCK]).and_then(|()| self.stream.flush());
        written.map(|()| self.stream).map_err(ArchiveError::Write)
    }
}
