//! Reads a GUID partition table (UEFI 2.10 chapter 5): the primary one, on sectors of 512 bytes.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

const SECTOR: u64 = 512;
const SIGNATURE: &[u8] = b"EFI PART";
/// The header's size in revision 1.0.
const HEADER: usize = 92;
/// Where the header's own checksum is.
const CHECKSUM: Range<usize> = 16..20;
/// An entry's size; larger ones are allowed and unused.
const ENTRY: usize = 128;
/// The most entries that are read.
const MAX_ENTRIES: u32 = 256;
/// Where an entry's name is: 36 UTF-16 units.
const NAME: Range<usize> = 56..128;

/// What is wrong with a partition table.
#[derive(Debug, thiserror::Error)]
pub enum GptError {
    /// Reading failed, or the disk ends too early.
    #[error("its partition table cannot be read")]
    Read(#[from] io::Error),
    /// There is none.
    #[error("it has no GUID partition table")]
    Missing,
    /// A checksum is wrong.
    #[error("the {0} of its partition table is damaged: its checksum is wrong")]
    Checksum(&'static str),
    /// A number is impossible.
    #[error("its partition table says {0}")]
    Invalid(String),
}

/// A named range of the disk, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub bytes: Range<u64>,
}

/// Reads the partitions of `disk`, which has `size` bytes.
pub fn read(disk: &File, size: u64) -> Result<Vec<Partition>, GptError> {
    if size < 3 * SECTOR {
        return Err(GptError::Missing);
    }
    let mut header = [0; HEADER];
    disk.read_exact_at(&mut header, SECTOR)?;
    if !header.starts_with(SIGNATURE) {
        return Err(GptError::Missing);
    }
    if u32_at(&header, 12) as usize != HEADER {
        return Err(GptError::Invalid(format!("that its header has {} bytes", u32_at(&header, 12))));
    }
    let expected = u32_at(&header, CHECKSUM.start);
    header[CHECKSUM].fill(0);
    if crc32fast::hash(&header) != expected {
        return Err(GptError::Checksum("header"));
    }
    let entries = read_entries(disk, &header)?;
    entries.iter().filter(|entry| entry[..16] != [0; 16]).map(|entry| partition(entry, size)).collect()
}

fn read_entries(disk: &File, header: &[u8]) -> Result<Vec<[u8; ENTRY]>, GptError> {
    let (sector, count, length) = (u64_at(header, 72), u32_at(header, 80), u32_at(header, 84));
    if count > MAX_ENTRIES || length as usize != ENTRY {
        return Err(GptError::Invalid(format!("that it has {count} entries of {length} bytes")));
    }
    let start = sector
        .checked_mul(SECTOR)
        .ok_or_else(|| GptError::Invalid(format!("that its entries are in sector {sector}")))?;
    let mut bytes = vec![0; count as usize * ENTRY];
    disk.read_exact_at(&mut bytes, start)?;
    if crc32fast::hash(&bytes) != u32_at(header, 88) {
        return Err(GptError::Checksum("list of entries"));
    }
    Ok(bytes.as_chunks().0.to_vec())
}

fn partition(entry: &[u8; ENTRY], size: u64) -> Result<Partition, GptError> {
    let units: Vec<u16> = entry[NAME]
        .as_chunks()
        .0
        .iter()
        .map(|unit| u16::from_le_bytes(*unit))
        .take_while(|unit| *unit != 0)
        .collect();
    let name = String::from_utf16_lossy(&units);
    let (first, last) = (u64_at(entry, 32), u64_at(entry, 40));
    let end = last.checked_add(1).and_then(|end| end.checked_mul(SECTOR));
    match (first.checked_mul(SECTOR), end) {
        (Some(start), Some(end)) if start < end && end <= size => Ok(Partition { name, bytes: start..end }),
        _ => {
            let text = format!(
                "that partition {name:?} has sectors {first} to {last}; the disk has {}",
                size / SECTOR
            );
            Err(GptError::Invalid(text))
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
