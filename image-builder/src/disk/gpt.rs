//! GUID partition tables (UEFI specification 2.10, chapter 5): the few that an appliance needs, written to be
//! the same for the same content, and read within limits. Sectors of 512 bytes.

use crate::digest::Sha256;
use std::io;

/// The size of a sector in bytes.
pub const SECTOR: u64 = 512;

/// Partitions start at multiples of this many bytes.
pub const GRAIN: u64 = 1 << 20;

/// A table has room for this many partitions, the usual number.
const ENTRIES: u32 = 128;
const ENTRY_SIZE: usize = 128;
const TABLE_SIZE: usize = ENTRIES as usize * ENTRY_SIZE;
const TABLE_SECTORS: u64 = TABLE_SIZE as u64 / SECTOR;
const HEADER_SIZE: usize = 92;
const SIGNATURE: &[u8; 8] = b"EFI PART";

/// "Linux filesystem data", 0FC63DAF-8483-4772-8E79-3D69D8477DE4, as it is stored.
const LINUX_DATA: [u8; 16] =
    [0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4];

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// At most 36 characters.
    pub label: String,
    /// From the start of the disk, in bytes.
    pub offset: u64,
    /// In bytes.
    pub size: u64,
}

/// How many bytes the table takes at the start of a disk, and how many its copy takes at the end.
pub const HEAD: u64 = (2 + TABLE_SECTORS) * SECTOR;
/// See [`HEAD`].
pub const TAIL: u64 = (1 + TABLE_SECTORS) * SECTOR;

/// The bytes at the start and at the end of a disk of `size` bytes. The disk's and the partitions' GUIDs are
/// made from `content`, a digest of what is in them.
pub fn encode(partitions: &[Partition], size: u64, content: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut table = vec![0; TABLE_SIZE];
    for (partition, entry) in partitions.iter().zip(table.chunks_mut(ENTRY_SIZE)) {
        entry[..16].copy_from_slice(&LINUX_DATA);
        entry[16..32].copy_from_slice(&guid(&partition.label, content));
        entry[32..40].copy_from_slice(&(partition.offset / SECTOR).to_le_bytes());
        let last = (partition.offset + partition.size).div_ceil(SECTOR) - 1;
        entry[40..48].copy_from_slice(&last.to_le_bytes());
        for (unit, place) in partition.label.encode_utf16().zip(entry[56..].chunks_mut(2)) {
            place.copy_from_slice(&unit.to_le_bytes());
        }
    }
    let sectors = size / SECTOR;
    let disk = guid("disk", content);
    let mut head = protective_mbr(sectors);
    head.extend(header(1, sectors - 1, 2, sectors, disk, &table));
    head.extend(&table);
    let mut tail = table.clone();
    tail.extend(header(sectors - 1, 1, sectors - 1 - TABLE_SECTORS, sectors, disk, &table));
    (head, tail)
}

fn header(own: u64, other: u64, table_at: u64, sectors: u64, disk: [u8; 16], table: &[u8]) -> Vec<u8> {
    let mut header = vec![0; usize::try_from(SECTOR).unwrap_or_default()];
    let mut put = |offset: usize, field: &[u8]| header[offset..offset + field.len()].copy_from_slice(field);
    put(0, SIGNATURE);
    // Revision 1.0.
    put(8, &0x0001_0000_u32.to_le_bytes());
    put(12, &92_u32.to_le_bytes());
    put(24, &own.to_le_bytes());
    put(32, &other.to_le_bytes());
    put(40, &(2 + TABLE_SECTORS).to_le_bytes());
    put(48, &(sectors - 2 - TABLE_SECTORS).to_le_bytes());
    put(56, &disk);
    put(72, &table_at.to_le_bytes());
    put(80, &ENTRIES.to_le_bytes());
    put(84, &128_u32.to_le_bytes());
    put(88, &crc32fast::hash(table).to_le_bytes());
    let crc = crc32fast::hash(&header[..HEADER_SIZE]);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    header
}

/// One partition over the whole disk, so that programs that know no GPT leave it alone.
fn protective_mbr(sectors: u64) -> Vec<u8> {
    let mut mbr = vec![0; usize::try_from(SECTOR).unwrap_or_default()];
    let size = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    mbr[446..454].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff]);
    mbr[454..458].copy_from_slice(&1_u32.to_le_bytes());
    mbr[458..462].copy_from_slice(&size.to_le_bytes());
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    mbr
}

/// A GUID of version 8 (RFC 9562: of the maker's own making), in the byte order of the table.
fn guid(label: &str, content: &[u8]) -> [u8; 16] {
    let mut digest = Sha256::new();
    digest.update(label);
    digest.update([0]);
    digest.update(content);
    let mut guid = [0; 16];
    guid.copy_from_slice(&digest.finalize()[..16]);
    guid[7] = guid[7] & 0x0f | 0x80;
    guid[8] = guid[8] & 0x3f | 0x80;
    guid
}

/// Whether the first sectors of a disk claim to hold a table.
pub fn present(head: &[u8]) -> bool {
    head.get(512..520) == Some(SIGNATURE)
}

/// Reads the table at the start of a disk of `size` bytes from its first [`HEAD`] bytes. Every partition
/// lies within the disk and no two of them overlap or share a name.
pub fn decode(head: &[u8], size: u64) -> io::Result<Vec<Partition>> {
    let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let cut = || damaged("it ends within its partition table");
    let header = head.get(512..1024).ok_or_else(cut)?;
    let table = head.get(1024..1024 + TABLE_SIZE).ok_or_else(cut)?;
    let word = |offset: usize| u32::from_le_bytes([0, 1, 2, 3].map(|index| header[offset + index]));
    let mut unsigned = header[..HEADER_SIZE].to_vec();
    unsigned[16..20].fill(0);
    if !header.starts_with(SIGNATURE) || word(12) != 92 || crc32fast::hash(&unsigned) != word(16) {
        return Err(damaged("the header of its partition table is damaged"));
    }
    let usual = word(80) == ENTRIES && word(84) == 128 && header[72..80] == 2_u64.to_le_bytes();
    if !usual {
        return Err(damaged("its partition table has an unusual shape"));
    }
    if crc32fast::hash(table) != word(88) {
        return Err(damaged("its partition table is damaged"));
    }
    let mut partitions: Vec<Partition> = Vec::new();
    for entry in table.chunks(ENTRY_SIZE).filter(|entry| entry[..16] != [0; 16]) {
        let at =
            |offset: usize| u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|index| entry[offset + index]));
        let (first, last) = (at(32), at(40));
        let inside = first >= HEAD / SECTOR && first <= last && last < size / SECTOR;
        let units = entry[56..].chunks(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
        let label: String = char::decode_utf16(units.take_while(|unit| *unit != 0))
            .map(|unit| unit.unwrap_or('\u{fffd}'))
            .collect();
        if !inside {
            return Err(damaged(&format!("its partition {label:?} lies outside the disk")));
        }
        let partition = Partition { label, offset: first * SECTOR, size: (last - first + 1) * SECTOR };
        let clashes = |other: &Partition| {
            other.label == partition.label
                || (other.offset < partition.offset + partition.size
                    && partition.offset < other.offset + other.size)
        };
        if partitions.iter().any(clashes) {
            return Err(damaged(&format!("its partition {:?} clashes with another", partition.label)));
        }
        partitions.push(partition);
    }
    Ok(partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions() -> Vec<Partition> {
        let partition = |label: &str, offset, size| Partition { label: label.to_owned(), offset, size };
        vec![partition("manifest-a", 1 << 20, 8192), partition("root-a", 2 << 20, 4096)]
    }

    #[test]
    fn a_table_comes_back() {
        let (head, tail) = encode(&partitions(), 4 << 20, b"content");
        assert_eq!((head.len() as u64, tail.len() as u64), (HEAD, TAIL));
        assert_eq!(decode(&head, 4 << 20).unwrap(), partitions());
        assert!(present(&head));
        assert_ne!(head, encode(&partitions(), 4 << 20, b"other").0);
        assert_eq!(head, encode(&partitions(), 4 << 20, b"content").0);
    }

    #[test]
    fn a_damaged_table_is_refused() {
        let (head, _) = encode(&partitions(), 4 << 20, b"content");
        for cut in 0..head.len() {
            assert!(decode(&head[..cut], 4 << 20).is_err());
        }
        for place in (512..604).chain(1024..1280) {
            let mut head = head.clone();
            head[place] ^= 1;
            assert!(decode(&head, 4 << 20).is_err(), "flipped at {place}");
        }
        assert!(decode(&head, 2 << 20).is_err());
    }

    #[test]
    fn partitions_that_clash_are_refused() {
        for (label, offset) in [("manifest-a", 3 << 20), ("x", (2 << 20) + 2048)] {
            let mut partitions = partitions();
            partitions.push(Partition { label: label.to_owned(), offset, size: 4096 });
            let (head, _) = encode(&partitions, 4 << 20, b"");
            assert!(decode(&head, 4 << 20).is_err(), "{label}");
        }
    }
}
