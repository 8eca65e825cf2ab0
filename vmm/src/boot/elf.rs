//! Checks an ELF kernel's headers before anything of it is loaded (System V ABI, "Object Files").

use std::io::SeekFrom;
use std::ops::Range;

use super::{KernelError, kernel::KernelImage};
use crate::arch::x86_64::registers::Entry;

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const EM_X86_64: u16 = 62;
/// A kernel has about five program headers.
const MAX_HEADERS: u16 = 64;
/// A kernel's notes take some hundred bytes.
const MAX_NOTES: u64 = 64 << 10;
/// `XEN_ELFNOTE_PHYS32_ENTRY`: the PVH entry (Linux `include/xen/interface/elfnote.h`).
const PVH_ENTRY: u32 = 18;

struct ProgramHeader {
    kind: u32,
    offset: u64,
    address: u64,
    file_size: u64,
    memory_size: u64,
}

/// Checks that every part of the image lies in the file (`size` bytes) and goes into `ram`, that no two
/// parts overlap, and tells the entry: PVH where the image has one, its 64-bit entry otherwise.
pub(super) fn check(
    image: &mut impl KernelImage,
    head: &[u8],
    size: u64,
    ram: &Range<u64>,
) -> Result<Entry, KernelError> {
    let headers = program_headers(image, head, size)?;
    let mut segments: Vec<Range<u64>> = Vec::new();
    let mut pvh = None;
    for header in &headers {
        let what = || format!("the segment at {:#x}", header.address);
        match header.kind {
            PT_LOAD => {
                within_file(what, header.offset, header.file_size, size)?;
                segments.push(place(header, ram)?);
            }
            PT_NOTE if pvh.is_none() => {
                within_file(|| "a note segment".to_owned(), header.offset, header.file_size, size)?;
                pvh = pvh_entry(image, header)?;
            }
            _ => {}
        }
    }
    segments.retain(|segment| !segment.is_empty());
    segments.sort_by_key(|segment| segment.start);
    if segments.is_empty() {
        return Err(KernelError::Header("program headers name nothing to load".into()));
    }
    if let Some(pair) = segments.windows(2).find(|pair| pair[0].end > pair[1].start) {
        return Err(KernelError::Header(format!("segments overlap at {:#x}", pair[1].start)));
    }
    let entry = match pvh {
        Some(address) => Entry::Pvh { address },
        None => Entry::Linux64 { address: u64_at(head, 24)? },
    };
    let (Entry::Pvh { address } | Entry::Linux64 { address }) = entry;
    if !segments.iter().any(|segment| segment.contains(&address)) {
        return Err(KernelError::Header(format!("entry {address:#x} lies in none of its segments")));
    }
    Ok(entry)
}

fn program_headers(
    image: &mut impl KernelImage,
    head: &[u8],
    size: u64,
) -> Result<Vec<ProgramHeader>, KernelError> {
    if head.len() < 64 {
        return Err(KernelError::Truncated { what: "the ELF header".into(), end: 64, size });
    }
    if head.get(4..6) != Some(&[2, 1]) || u16_at(head, 18)? != EM_X86_64 {
        return Err(KernelError::Header("ELF header is not that of a 64-bit x86 file".into()));
    }
    let (offset, entry_size, count) = (u64_at(head, 32)?, u16_at(head, 54)?, u16_at(head, 56)?);
    if entry_size != 56 || count > MAX_HEADERS {
        let text = format!("ELF header promises {count} program headers of {entry_size} bytes");
        return Err(KernelError::Header(text));
    }
    let length = u64::from(entry_size) * u64::from(count);
    within_file(|| "the program header table".to_owned(), offset, length, size)?;
    image.seek(SeekFrom::Start(offset))?;
    let mut table = vec![0; usize::from(entry_size) * usize::from(count)];
    image.read_exact(&mut table)?;
    table
        .chunks_exact(56)
        .map(|header| {
            Ok(ProgramHeader {
                kind: u32_at(header, 0)?,
                offset: u64_at(header, 8)?,
                address: u64_at(header, 24)?,
                file_size: u64_at(header, 32)?,
                memory_size: u64_at(header, 40)?,
            })
        })
        .collect()
}

/// The memory that a segment takes.
fn place(header: &ProgramHeader, ram: &Range<u64>) -> Result<Range<u64>, KernelError> {
    if header.memory_size < header.file_size {
        let text = format!("segment at {:#x} is larger in the file than in memory", header.address);
        return Err(KernelError::Header(text));
    }
    let start = header.address;
    let end = start.saturating_add(header.memory_size);
    if header.memory_size > 0 && (start < ram.start || end > ram.end) {
        return Err(KernelError::Memory { start, end, low: ram.start, high: ram.end });
    }
    Ok(start..end)
}

/// Looks for the PVH entry among the notes of one segment.
fn pvh_entry(image: &mut impl KernelImage, header: &ProgramHeader) -> Result<Option<u64>, KernelError> {
    if header.file_size > MAX_NOTES {
        return Err(KernelError::Header(format!("notes take {} bytes", header.file_size)));
    }
    image.seek(SeekFrom::Start(header.offset))?;
    let mut notes = vec![0; header.file_size as usize];
    image.read_exact(&mut notes)?;
    let mut rest = notes.as_slice();
    while rest.len() >= 12 {
        let (name_size, value_size, kind) = (u32_at(rest, 0)?, u32_at(rest, 4)?, u32_at(rest, 8)?);
        let body = &rest[12..];
        let value_at = (name_size as usize).next_multiple_of(4);
        let end = value_at.saturating_add((value_size as usize).next_multiple_of(4));
        if end > body.len() {
            return Err(KernelError::Header(format!("note of type {kind} reaches beyond the notes")));
        }
        if kind == PVH_ENTRY && body.starts_with(b"Xen\0") && name_size == 4 {
            return u32_at(body, value_at).map(|address| Some(address.into()));
        }
        rest = &body[end..];
    }
    Ok(None)
}

fn within_file(what: impl Fn() -> String, offset: u64, length: u64, size: u64) -> Result<(), KernelError> {
    let end = offset.saturating_add(length);
    if end > size { Err(KernelError::Truncated { what: what(), end, size }) } else { Ok(()) }
}

fn bytes_at<const N: usize>(data: &[u8], at: usize) -> Result<[u8; N], KernelError> {
    data.get(at..at.saturating_add(N))
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| KernelError::Header(format!("header ends before byte {at}")))
}

fn u16_at(data: &[u8], at: usize) -> Result<u16, KernelError> {
    bytes_at(data, at).map(u16::from_le_bytes)
}

fn u32_at(data: &[u8], at: usize) -> Result<u32, KernelError> {
    bytes_at(data, at).map(u32::from_le_bytes)
}

fn u64_at(data: &[u8], at: usize) -> Result<u64, KernelError> {
    bytes_at(data, at).map(u64::from_le_bytes)
}
