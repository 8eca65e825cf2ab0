//! Disks of other machines: raw or qcow2, from a file or an address, held against a digest, written sparse.
//!
//! The format is named by whoever asks and never guessed from the content, which its guest wrote. No file that a
//! disk names (a backing file, an external data file) is opened.

mod download;
mod qcow2_reader;
mod qcow2_writer;
mod raw;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::cancellation::{Cancellation, Cancelled};
use crate::digest::Sha256;
use crate::http::HttpError;
use crate::limits::Limits;
use crate::output::{Output, folder};
use crate::store::{Progress, StoreError};

use download::Download;
use qcow2_reader::Qcow2Reader;
use qcow2_writer::Qcow2Writer;

/// Disks are read and written in pieces of this many bytes, at multiples of it.
const PIECE: u64 = 64 << 10;

/// The unit of a disk's size, in bytes.
const SECTOR: u64 = 512;

/// How a disk is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFormat {
    /// The disk's bytes.
    Raw,
    /// QEMU's format, versions 2 and 3.
    Qcow2,
}

/// Where a disk comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskSource {
    /// A file.
    File(PathBuf),
    /// An address, `https://` or `http://`: what comes is known by its digest.
    Url(String),
}

impl DiskSource {
    /// An address where it looks like one, else a file.
    pub fn parse(words: &str) -> Self {
        match words.starts_with("https://") || words.starts_with("http://") {
            true => Self::Url(words.to_owned()),
            false => Self::File(PathBuf::from(words)),
        }
    }
}

/// What is to be made of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskSpec {
    /// From where.
    pub source: DiskSource,
    /// The format there.
    pub source_format: DiskFormat,
    /// Whether it is compressed as a whole, with gzip, xz or zstd.
    pub compressed: bool,
    /// The SHA-256 of what comes, 64 hexadecimal digits; an address needs it.
    pub sha256: Option<String>,
    /// The format to write.
    pub format: DiskFormat,
    /// The file to write.
    pub output: PathBuf,
    /// Where what has come from an address waits for the next try, if this one is interrupted: a store. Where this is
    /// none, the next one starts anew.
    pub store: Option<PathBuf>,
}

/// What was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSummary {
    /// The disk's size in bytes.
    pub size: u64,
    /// How many bytes of it are data, in pieces of 64 KiB.
    pub data: u64,
}

/// Why a disk cannot be taken.
#[derive(Debug, Error)]
pub enum DiskError {
    /// The source.
    #[error("Cannot read the disk {0}")]
    Read(String, #[source] io::Error),
    /// The network.
    #[error("Cannot fetch the disk")]
    Fetch(#[from] HttpError),
    /// Where it waits.
    #[error("Cannot keep what comes of the disk")]
    Store(#[from] StoreError),
    /// A temporary file.
    #[error("Cannot write a temporary file beside the output")]
    Spill(#[source] io::Error),
    /// An address without a digest.
    #[error("A disk from an address needs its SHA-256: nothing else says that it is the right one")]
    NoDigest,
    /// No digest.
    #[error("{0:?} is not a SHA-256: 64 hexadecimal digits")]
    Digest(String),
    /// Another disk.
    #[error("The disk {name} has the SHA-256 {found}, not the one that was asked for")]
    Mismatch {
        /// From where.
        name: String,
        /// What it has.
        found: String,
    },
    /// Said to be compressed.
    #[error("The disk {0} is compressed neither with gzip nor with xz nor with zstd")]
    NotCompressed(String),
    /// A qcow2 that is not taken.
    #[error("The qcow2 {0} is not taken: {1}")]
    Qcow2(String, &'static str),
    /// Too much.
    #[error("The disk {0} has more than {1} bytes")]
    Large(String, u64),
    /// Nobody waits for it.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The output.
    #[error("Cannot write the disk {0}")]
    Write(PathBuf, #[source] io::Error),
}

/// Makes one disk of another. The output appears whole or not at all.
pub fn convert(spec: &DiskSpec, limits: &Limits, progress: &dyn Progress) -> Result<DiskSummary, DiskError> {
    let digest = spec.sha256.as_deref().map(checked_digest).transpose()?;
    let write = |error| DiskError::Write(spec.output.clone(), error);
    let output = Output::begin(&spec.output).map_err(write)?;
    let scratch = folder(&spec.output);
    let name = disk_name(&spec.source);
    let file = match (&spec.source, &digest) {
        (DiskSource::File(path), digest) => {
            let file = crate::oci::open_file(path).map_err(|error| DiskError::Read(name.clone(), error))?;
            digest.as_ref().map_or(Ok(()), |digest| check(&file, &name, digest, &limits.cancellation))?;
            file
        }
        (DiskSource::Url(_), None) => return Err(DiskError::NoDigest),
        (DiskSource::Url(address), Some(digest)) => {
            Download { address, digest, limits, progress }.fetch(spec.store.as_deref(), scratch)?
        }
    };
    let source = Opened { file, name };
    let mut disk = source.disk(spec, scratch, limits)?;
    let mut target = match spec.format {
        DiskFormat::Raw => Target::Raw(output.file()),
        DiskFormat::Qcow2 => Target::Qcow2(Qcow2Writer::new(output.file())),
    };
    let mut data = 0;
    let size = disk.each_piece(limits, |offset, bytes| {
        data += bytes.len() as u64;
        if data > limits.data {
            return Err(DiskError::Large(disk_name(&spec.source), limits.data));
        }
        target.write(offset, bytes).map_err(write)
    })?;
    target.finish(size).map_err(write)?;
    output.finish().map_err(write)?;
    Ok(DiskSummary { size, data })
}

fn disk_name(source: &DiskSource) -> String {
    match source {
        DiskSource::File(path) => path.display().to_string(),
        DiskSource::Url(address) => address.clone(),
    }
}

fn checked_digest(digits: &str) -> Result<String, DiskError> {
    let lower = digits.to_ascii_lowercase();
    match hex::decode(&lower).is_ok_and(|bytes| bytes.len() == 32) {
        true => Ok(lower),
        false => Err(DiskError::Digest(digits.chars().take(100).collect())),
    }
}

/// Holds a whole file against a digest.
fn check(file: &File, name: &str, digest: &str, cancellation: &Cancellation) -> Result<(), DiskError> {
    let mut hash = Sha256::new();
    let mut piece = vec![0; 256 << 10];
    let mut offset = 0;
    loop {
        cancellation.check()?;
        let read = std::os::unix::fs::FileExt::read_at(file, &mut piece, offset);
        match read.map_err(|error| DiskError::Read(name.to_owned(), error))? {
            0 => break,
            read => {
                hash.update(&piece[..read]);
                offset += read as u64;
            }
        }
    }
    let found = hex::encode(hash.finalize());
    match found == digest {
        true => Ok(()),
        false => Err(DiskError::Mismatch { name: name.to_owned(), found }),
    }
}

/// A source, open.
struct Opened {
    file: File,
    /// For people.
    name: String,
}

impl Opened {
    fn failed(&self, error: io::Error) -> DiskError {
        DiskError::Read(self.name.clone(), error)
    }

    fn disk(self, spec: &DiskSpec, scratch: &Path, limits: &Limits) -> Result<Disk, DiskError> {
        let name = self.name.clone();
        if !spec.compressed {
            return match spec.source_format {
                DiskFormat::Raw => Ok(Disk::Raw { file: self.file, name }),
                DiskFormat::Qcow2 => Qcow2Reader::open(self.file, name, limits).map(Disk::Qcow2),
            };
        }
        let copy = self.file.try_clone().map_err(|error| self.failed(error))?;
        let reader = crate::oci::uncompressed(copy, limits.size).map_err(|error| self.failed(error))?;
        let mut reader: Box<dyn Read> = reader.ok_or(DiskError::NotCompressed(name.clone()))?;
        match spec.source_format {
            DiskFormat::Raw => Ok(Disk::Stream { reader, name }),
            DiskFormat::Qcow2 => {
                let mut spilled = tempfile::tempfile_in(scratch).map_err(DiskError::Spill)?;
                let mut limited = limits.cancellation.stream(&mut reader).take(limits.data.saturating_add(1));
                let length = io::copy(&mut limited, &mut spilled).map_err(|error| self.failed(error))?;
                if length > limits.data {
                    return Err(DiskError::Large(name, limits.data));
                }
                Qcow2Reader::open(spilled, name, limits).map(Disk::Qcow2)
            }
        }
    }
}

/// A disk to read.
enum Disk {
    Raw { file: File, name: String },
    Stream { reader: Box<dyn Read>, name: String },
    Qcow2(Qcow2Reader),
}

impl Disk {
    /// Shows every piece that is not all zeros, in order and with its offset; returns the disk's size.
    fn each_piece(
        &mut self,
        limits: &Limits,
        mut show: impl FnMut(u64, &[u8]) -> Result<(), DiskError>,
    ) -> Result<u64, DiskError> {
        let mut show = |offset, bytes: &[u8]| {
            limits.cancellation.check()?;
            match bytes.iter().all(|byte| *byte == 0) {
                true => Ok(()),
                false => show(offset, bytes),
            }
        };
        let size = match self {
            Self::Raw { file, name } => raw::each_piece(file, name, limits, &mut show)?,
            Self::Stream { reader, name } => raw::each_streamed(reader, name, limits, &mut show)?,
            Self::Qcow2(reader) => reader.each_piece(&mut show)?,
        };
        Ok(size.next_multiple_of(SECTOR))
    }
}

enum Target<'f> {
    Raw(&'f File),
    Qcow2(Qcow2Writer<'f>),
}

impl Target<'_> {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Raw(file) => raw::write(file, offset, bytes),
            Self::Qcow2(writer) => writer.write(offset, bytes),
        }
    }

    fn finish(self, size: u64) -> io::Result<()> {
        match self {
            Self::Raw(file) => file.set_len(size),
            Self::Qcow2(writer) => writer.finish(size),
        }
    }
}
