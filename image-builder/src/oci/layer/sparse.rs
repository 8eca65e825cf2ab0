//! Files with holes in tar archives (GNU tar manual, "Storing Sparse Files"): the old GNU type `S` and the
//! three versions of GNU's words in pax headers.

use bulkhead_archive::pax::decimal;
use std::io::Read;

use tar::{GnuSparseHeader, Header};

use super::archive::{BLOCK, Entries};
use super::pax::{MAX_MAP, PaxSparse};
use super::refusal::Refusal;
use crate::tree::Extent;

/// The longest map in front of a body (version 1.0), in bytes.
const MAX_MAP_BYTES: u64 = 4 << 20;

/// The size of a file and where it has data. `data` is the length of its data in the archive.
pub(super) fn pax_map<R: Read>(
    sparse: &PaxSparse,
    data: u64,
    entries: &mut Entries<R>,
) -> Result<(u64, Vec<Extent>), Refusal> {
    let (numbers, data) = match (sparse.version, &sparse.map) {
        (Some((1, 0)), _) => map_in_data(data, entries)?,
        (None | Some((0, _)), Some(map)) => (map.clone(), data),
        (None, None) if sparse.size.is_none() => {
            let whole = Extent { offset: 0, length: data };
            return Ok((data, if data == 0 { Vec::new() } else { vec![whole] }));
        }
        _ => return Err(Refusal::Sparse),
    };
    checked(sparse.size.ok_or(Refusal::Sparse)?, &numbers, data)
}

/// Version 1.0 has the map in front of the data: decimal numbers, a line each, padded to whole blocks.
fn map_in_data<R: Read>(data: u64, entries: &mut Entries<R>) -> Result<(Vec<u64>, u64), Refusal> {
    let mut read = 0;
    let mut numbers: Vec<u64> = Vec::new();
    let mut line = Vec::new();
    loop {
        let mut block = [0; BLOCK];
        entries.read_exact(&mut block).map_err(Refusal::Content)?;
        read += BLOCK as u64;
        for byte in block {
            if byte != b'\n' {
                line.push(byte);
                continue;
            }
            numbers.push(decimal(&line).ok_or(Refusal::Sparse)?);
            line.clear();
            let told = usize::try_from(numbers[0]).ok().and_then(|pairs| pairs.checked_mul(2));
            let told = told.filter(|count| *count <= MAX_MAP).ok_or(Refusal::Sparse)?;
            if numbers.len() == told + 1 {
                return Ok((numbers.split_off(1), data - read));
            }
        }
        // The longest line is a number of 20 digits.
        if line.len() > 20 || read > MAX_MAP_BYTES {
            return Err(Refusal::Sparse);
        }
    }
}

/// The type `S`: four stretches in the header and 21 in each block that continues it.
pub(super) fn gnu_map<R: Read>(
    header: &Header,
    data: u64,
    entries: &mut Entries<R>,
) -> Result<(u64, Vec<Extent>), Refusal> {
    let gnu = header.as_gnu().ok_or(Refusal::Sparse)?;
    let size = gnu.real_size().map_err(|_| Refusal::Sparse)?;
    let mut numbers = Vec::new();
    collect(&gnu.sparse, &mut numbers)?;
    let mut extended = gnu.is_extended();
    while extended {
        let mut block = tar::GnuExtSparseHeader::new();
        entries.extra_block(block.as_mut_bytes())?;
        collect(block.sparse(), &mut numbers)?;
        extended = block.is_extended();
    }
    checked(size, &numbers, data)
}

fn collect(stretches: &[GnuSparseHeader], numbers: &mut Vec<u64>) -> Result<(), Refusal> {
    for stretch in stretches.iter().filter(|stretch| !stretch.is_empty()) {
        numbers.push(stretch.offset().map_err(|_| Refusal::Sparse)?);
        numbers.push(stretch.length().map_err(|_| Refusal::Sparse)?);
    }
    if numbers.len() > MAX_MAP { Err(Refusal::Sparse) } else { Ok(()) }
}

/// The stretches must be in order, end within the size, and be as long together as the data.
fn checked(size: u64, numbers: &[u64], data: u64) -> Result<(u64, Vec<Extent>), Refusal> {
    let mut map = Vec::new();
    let (mut end, mut total) = (0_u64, 0_u64);
    for pair in numbers.chunks(2) {
        let [offset, length] = *pair else { return Err(Refusal::Sparse) };
        let behind = offset.checked_add(length).filter(|behind| *behind <= size).ok_or(Refusal::Sparse)?;
        if offset < end {
            return Err(Refusal::Sparse);
        }
        end = behind;
        total += length;
        if length > 0 {
            map.push(Extent { offset, length });
        }
    }
    if total != data { Err(Refusal::Sparse) } else { Ok((size, map)) }
}
