//! A header block: fields at their places, numbers in octal or, as GNU has large ones, in base 256.

use crate::{ArchiveError, Kind};

/// The unit of an archive, in bytes.
pub const BLOCK: usize = 512;

const NAME: (usize, usize) = (0, 100);
const MODE: (usize, usize) = (100, 108);
const UID: (usize, usize) = (108, 116);
const GID: (usize, usize) = (116, 124);
const SIZE: (usize, usize) = (124, 136);
const MTIME: (usize, usize) = (136, 148);
const SUM: (usize, usize) = (148, 156);
const TYPE: usize = 156;
const LINK: (usize, usize) = (157, 257);
const MAGIC: (usize, usize) = (257, 265);
const PREFIX: (usize, usize) = (345, 500);

/// The largest number that a field of eleven octal digits holds; and of seven.
pub const MAX_LONG: u64 = (1 << 33) - 1;
/// See [`MAX_LONG`].
pub const MAX_SHORT: u64 = (1 << 21) - 1;

/// A header block.
#[derive(Clone)]
pub struct Header(pub [u8; BLOCK]);

impl Header {
    /// An empty one of a type.
    pub fn new(kind: u8) -> Self {
        let mut header = Self([0; BLOCK]);
        header.0[TYPE] = kind;
        header.put(MAGIC, b"ustar\x0000");
        header
    }

    fn field(&self, (start, end): (usize, usize)) -> &[u8] {
        self.0.get(start..end).unwrap_or_default()
    }

    fn text(&self, place: (usize, usize)) -> &[u8] {
        let field = self.field(place);
        field.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    fn put(&mut self, (start, _): (usize, usize), bytes: &[u8]) {
        if let Some(field) = self.0.get_mut(start..start + bytes.len()) {
            field.copy_from_slice(bytes);
        }
    }

    /// Sets everything but the type, and the checksum. What does not fit its field stands before it in a pax header.
    pub fn fill(&mut self, name: &[u8], link: &[u8], [mode, uid, gid, size, mtime]: [u64; 5]) {
        self.put(NAME, &name[..name.len().min(100)]);
        self.put(LINK, &link[..link.len().min(100)]);
        for (place, number) in [(MODE, mode), (UID, uid), (GID, gid)] {
            self.put(place, format!("{:07o}\0", number.min(MAX_SHORT)).as_bytes());
        }
        for (place, number) in [(SIZE, size), (MTIME, mtime)] {
            self.put(place, format!("{:011o}\0", number.min(MAX_LONG)).as_bytes());
        }
        let sum = format!("{:06o}\0 ", self.sum());
        self.put(SUM, sum.as_bytes());
    }

    /// The sum of all bytes, those of the checksum itself counted as spaces.
    fn sum(&self) -> u32 {
        let (start, end) = SUM;
        let all: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        let own: u32 = self.field((start, end)).iter().map(|byte| u32::from(*byte)).sum();
        all - own + 8 * u32::from(b' ')
    }

    /// Whether it is a header at all.
    pub fn check(&self) -> Result<(), ArchiveError> {
        match number(self.field(SUM)) {
            Some(told) if told == i64::from(self.sum()) => Ok(()),
            _ => Err(ArchiveError::Header("its checksum is wrong")),
        }
    }

    /// Its name, with the part that ustar has apart.
    pub fn name(&self) -> Vec<u8> {
        let (name, prefix) = (self.text(NAME), self.text(PREFIX));
        match self.field(MAGIC).starts_with(b"ustar\0") && !prefix.is_empty() {
            true => [prefix, b"/", name].concat(),
            false => name.to_vec(),
        }
    }

    /// Where a link leads.
    pub fn link(&self) -> Vec<u8> {
        self.text(LINK).to_vec()
    }

    /// The type's letter.
    pub fn letter(&self) -> u8 {
        self.0[TYPE]
    }

    /// How many bytes follow.
    pub fn size(&self) -> Result<u64, ArchiveError> {
        number(self.field(SIZE))
            .and_then(|size| u64::try_from(size).ok())
            .ok_or(ArchiveError::Header("its size is no number"))
    }

    /// Mode, owner and group, and the time.
    pub fn numbers(&self) -> Result<([u32; 3], i64), ArchiveError> {
        let short = |place, wrong| {
            let told = number(self.field(place)).and_then(|told| u32::try_from(told).ok());
            told.ok_or(ArchiveError::Header(wrong))
        };
        let mtime = number(self.field(MTIME)).ok_or(ArchiveError::Header("its time is no number"))?;
        let mode = short(MODE, "its mode is no number")?;
        Ok(([mode, short(UID, "its owner is no number")?, short(GID, "its group is no number")?], mtime))
    }
}

/// The entry's kind, where it has one that is known here.
pub fn kind(letter: u8, size: u64, link: Vec<u8>, name: &[u8]) -> Result<Kind, ArchiveError> {
    Ok(match letter {
        // Before there was a type for it, a name with a slash at its end was a folder.
        b'0' | 0 | b'7' if name.ends_with(b"/") && size == 0 => Kind::Folder,
        b'0' | 0 | b'7' => Kind::File(size),
        b'1' => Kind::HardLink(link),
        b'2' => Kind::Symlink(link),
        b'3' => Kind::Special("a device"),
        b'4' => Kind::Special("a device"),
        b'5' => Kind::Folder,
        b'6' => Kind::Special("a named pipe"),
        b'S' => return Err(ArchiveError::refused(name, "files with holes are not taken")),
        _ => return Err(ArchiveError::refused(name, "its type is unknown")),
    })
}

/// A number in octal, with spaces and NUL around it; or, where the first bit is set, in base 256.
fn number(field: &[u8]) -> Option<i64> {
    if let [first, rest @ ..] = field
        && first & 0x80 != 0
    {
        let negative = first & 0x40 != 0;
        let start = if negative { -1 } else { 0 };
        let begin = (start << 7) | i64::from(first & 0x7f);
        return rest
            .iter()
            .try_fold(begin, |sum, byte| sum.checked_mul(256).map(|sum| sum | i64::from(*byte)));
    }
    let trimmed: Vec<u8> = field.iter().copied().filter(|byte| !matches!(byte, b' ' | 0)).collect();
    trimmed.iter().try_fold(0_i64, |sum, byte| match byte {
        b'0'..=b'7' => sum.checked_mul(8)?.checked_add(i64::from(byte - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_large() {
        for (field, told) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   755 \0", Some(0o755)),
            (b"\0\0\0\0", Some(0)),
            (b"\x80\0\0\x01\0\0\0\0", Some(1 << 32)),
            (b"\xff\xff\xff\xff", Some(-1)),
            (b"0008\0", None),
            (b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ] {
            assert_eq!(number(field), told, "{field:?}");
        }
    }
}
