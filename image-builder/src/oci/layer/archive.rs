//! Reads a tar stream entry by entry: ustar, pax and GNU, with long names and holes. The headers' fields are
//! read by the `tar` crate; extensions are read here, since it would read them without a limit and without
//! extended attributes in their order.

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::pax::{self, Pax};
use super::refusal::Refusal;
use super::sparse;
use crate::tree::{Device, Extent, Time, Xattrs};

/// The unit of a tar archive, in bytes.
pub(super) const BLOCK: usize = 512;

/// The largest extended header or long name, in bytes.
const MAX_EXTENSION: u64 = 1 << 20;

/// How many extended headers may precede one entry.
const MAX_EXTENSIONS: usize = 16;

/// An entry as the archive tells it. Nothing of it has been checked beyond its own form.
#[derive(Debug)]
pub(in crate::oci) struct ArchiveEntry {
    pub name: Vec<u8>,
    pub link: Vec<u8>,
    pub kind: ArchiveKind,
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    pub xattrs: Xattrs,
}

/// What an entry is.
#[derive(Debug)]
pub(in crate::oci) enum ArchiveKind {
    /// A file of that size, with data in these stretches.
    File(u64, Vec<Extent>),
    Directory,
    HardLink,
    Symlink,
    CharacterDevice(Device),
    BlockDevice(Device),
    Fifo,
}

/// What is wrong, and with which entry as far as its name is known.
#[derive(Debug)]
pub(in crate::oci) enum ArchiveError {
    Read(io::Error),
    Entry(Vec<u8>, Refusal),
}

impl From<ArchiveError> for io::Error {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Read(error) => error,
            ArchiveError::Entry(name, refusal) => {
                let name = String::from_utf8_lossy(&name[..name.len().min(200)]).into_owned();
                Self::new(io::ErrorKind::InvalidData, format!("Cannot read its member {name:?}: {refusal}"))
            }
        }
    }
}

/// The entries of an archive.
#[derive(Debug)]
pub(in crate::oci) struct Entries<R> {
    reader: R,
    /// What is left of the present entry's data in the archive, without its padding.
    left: u64,
    padding: u64,
    ended: bool,
    /// Whether the end of the stream is one of the archive too.
    ends_with_stream: bool,
}

impl<R: Read> Entries<R> {
    pub(in crate::oci) fn new(reader: R) -> Self {
        Self { reader, left: 0, padding: 0, ended: false, ends_with_stream: false }
    }

    /// Of a stream that is known by its digest: one that ends behind an entry is whole, also where the blocks that mark
    /// the end and the last entry's padding are missing. Some write such layers (umoci's `insert`), and all read them.
    pub(super) fn of_whole(reader: R) -> Self {
        Self { ends_with_stream: true, ..Self::new(reader) }
    }

    /// Whether the blocks that mark the end have been seen.
    pub(in crate::oci) fn ended(&self) -> bool {
        self.ended
    }

    /// The stream.
    pub(in crate::oci) fn inner(&self) -> &R {
        &self.reader
    }

    /// The stream, to read what follows the archive.
    pub(super) fn into_inner(self) -> R {
        self.reader
    }

    /// The next entry, or none at the end. What was not read of the present one is skipped.
    pub(in crate::oci) fn next(&mut self) -> Result<Option<ArchiveEntry>, ArchiveError> {
        let (mut pax, mut long_name, mut long_link) = (Pax::default(), None, None);
        for extensions in 0..=MAX_EXTENSIONS {
            let Some(header) = self.header()? else {
                self.ended |= self.ends_with_stream && extensions == 0;
                return Ok(None);
            };
            let name = header.path_bytes().into_owned();
            let refuse = |refusal| ArchiveError::Entry(name.clone(), refusal);
            let size = header.entry_size().map_err(|_| refuse(Refusal::Number("size")))?;
            let kind = header.entry_type();
            match kind.as_byte() {
                b'x' => {
                    pax = self.extension(size).and_then(|records| pax::read(&records)).map_err(refuse)?;
                }
                // Global headers: defaults for later entries. Nobody writes any that matter in a root.
                b'g' => drop(self.extension(size).map_err(refuse)?),
                b'L' => long_name = Some(until_nul(self.extension(size).map_err(refuse)?)),
                b'K' => long_link = Some(until_nul(self.extension(size).map_err(refuse)?)),
                _ => {
                    pax.path = pax.path.or(long_name);
                    pax.link = pax.link.or(long_link);
                    let name = pax.sparse.name.clone().or_else(|| pax.path.clone()).unwrap_or(name);
                    let entry = self.entry(&header, name.clone(), pax, size);
                    return entry.map(Some).map_err(|refusal| ArchiveError::Entry(name, refusal));
                }
            }
        }
        Err(ArchiveError::Entry(Vec::new(), Refusal::Pax))
    }

    fn entry(
        &mut self,
        header: &Header,
        name: Vec<u8>,
        pax: Pax,
        size: u64,
    ) -> Result<ArchiveEntry, Refusal> {
        let id = |number: Option<u64>, what| match number.map(u32::try_from) {
            // The largest number means "no such id" to the kernel.
            Some(Ok(id)) if id != u32::MAX => Ok(id),
            _ => Err(Refusal::Number(what)),
        };
        let old = header.as_old();
        let uid = id(pax.uid.or_else(|| number(&old.uid, header.uid())), "owner")?;
        let gid = id(pax.gid.or_else(|| number(&old.gid, header.gid())), "group")?;
        let mode = number(&old.mode, header.mode().map(u64::from)).ok_or(Refusal::Number("mode"))?;
        let mtime = match pax.mtime {
            Some(mtime) => mtime,
            None => header_time(header).ok_or(Refusal::Number("time"))?,
        };
        let link = match pax.link {
            Some(ref link) => link.clone(),
            None => header.link_name_bytes().map(|link| link.into_owned()).unwrap_or_default(),
        };
        let kind = header.entry_type();
        // Only files have data; what old archives tell as a size of others means nothing.
        let data = match kind.as_byte() {
            b'0' | 0 | b'7' | b'S' => pax.size.unwrap_or(size),
            _ => 0,
        };
        self.left = data;
        self.padding = data.wrapping_neg() % BLOCK as u64;
        let kind = self.kind(header, &name, &pax, data)?;
        let mode = u16::try_from(mode & 0o7777).unwrap_or(0);
        Ok(ArchiveEntry { name, link, kind, mode, uid, gid, mtime, xattrs: pax.xattrs })
    }

    fn kind(&mut self, header: &Header, name: &[u8], pax: &Pax, data: u64) -> Result<ArchiveKind, Refusal> {
        let kind = match header.entry_type() {
            // Before there was a type for it, a name with a slash at its end was a directory.
            EntryType::Regular if name.ends_with(b"/") => ArchiveKind::Directory,
            EntryType::Regular | EntryType::Continuous => {
                let (size, map) = sparse::pax_map(&pax.sparse, data, self)?;
                ArchiveKind::File(size, map)
            }
            EntryType::GNUSparse => {
                let (size, map) = sparse::gnu_map(header, data, self)?;
                ArchiveKind::File(size, map)
            }
            EntryType::Link => ArchiveKind::HardLink,
            EntryType::Symlink => ArchiveKind::Symlink,
            EntryType::Directory => ArchiveKind::Directory,
            EntryType::Fifo => ArchiveKind::Fifo,
            EntryType::Char => ArchiveKind::CharacterDevice(device(header)?),
            EntryType::Block => ArchiveKind::BlockDevice(device(header)?),
            other => return Err(Refusal::Type(char::from(other.as_byte()))),
        };
        Ok(kind)
    }

    /// Reads one block of the archive's structure that belongs to the present entry, outside its data.
    pub(super) fn extra_block(&mut self, block: &mut [u8; BLOCK]) -> Result<(), Refusal> {
        self.reader.read_exact(block).map_err(Refusal::Content)
    }

    fn header(&mut self) -> Result<Option<Header>, ArchiveError> {
        let (left, skip) = (self.left, self.left + self.padding);
        self.left = 0;
        self.padding = 0;
        let skipped =
            io::copy(&mut (&mut self.reader).take(skip), &mut io::sink()).map_err(ArchiveError::Read)?;
        if skipped < skip && self.ends_with_stream && skipped >= left {
            return Ok(None);
        }
        if skipped < skip {
            return Err(ArchiveError::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        let mut header = Header::new_old();
        if self.ended || !fill(&mut self.reader, header.as_mut_bytes()).map_err(ArchiveError::Read)? {
            return Ok(None);
        }
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            self.ended = true;
            return Ok(None);
        }
        let bytes = header.as_bytes();
        // The sum of all bytes, those of the checksum itself counted as spaces.
        let sum = bytes[..148].iter().chain(&bytes[156..]).map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
        match header.cksum() {
            Ok(told) if told == sum => Ok(Some(header)),
            _ => Err(ArchiveError::Entry(header.path_bytes().into_owned(), Refusal::Checksum)),
        }
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, Refusal> {
        if size > MAX_EXTENSION {
            return Err(Refusal::LongHeader(MAX_EXTENSION));
        }
        let padded = size.next_multiple_of(BLOCK as u64);
        let mut bytes = Vec::new();
        (&mut self.reader).take(padded).read_to_end(&mut bytes).map_err(Refusal::Content)?;
        if bytes.len() as u64 != padded {
            return Err(Refusal::Content(io::ErrorKind::UnexpectedEof.into()));
        }
        bytes.truncate(usize::try_from(size).unwrap_or_default());
        Ok(bytes)
    }
}

/// The data of the present entry.
impl<R: Read> Read for Entries<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if length == 0 {
            return Ok(0);
        }
        let read = self.reader.read(&mut buffer[..length])?;
        self.left -= read as u64;
        Ok(read)
    }
}

/// Fills `block`, or finds the stream at its end; a part of a block is an error.
fn fill(reader: &mut impl Read, block: &mut [u8; BLOCK]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < BLOCK {
        match reader.read(&mut block[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn until_nul(mut name: Vec<u8>) -> Vec<u8> {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    name.truncate(end);
    name
}

/// A field's number; an empty field is zero, as every reader of tar has it.
fn number(field: &[u8], number: io::Result<u64>) -> Option<u64> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) { Some(0) } else { number.ok() }
}

fn header_time(header: &Header) -> Option<Time> {
    // Times before 1970 are two's complement in the base-256 form.
    let seconds = number(&header.as_old().mtime, header.mtime())?.cast_signed();
    Some(Time { seconds, nanoseconds: 0 })
}

fn device(header: &Header) -> Result<Device, Refusal> {
    let bytes = header.as_bytes();
    let part = |field, told: io::Result<Option<u32>>| {
        let told = number(field, told.map(|part| part.unwrap_or_default().into()));
        told.and_then(|part| u32::try_from(part).ok())
    };
    let major = part(&bytes[329..337], header.device_major());
    let minor = part(&bytes[337..345], header.device_minor());
    match (major, minor) {
        // Linux has 12 bits for the driver and 20 for the device.
        (Some(major), Some(minor)) if major < 1 << 12 && minor < 1 << 20 => Ok(Device { major, minor }),
        _ => Err(Refusal::Number("device number")),
    }
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
