//! Extended headers of tar archives, "pax" (POSIX.1-2017, `pax`, "pax Extended Header").
//!
//! Keys that have no meaning for a root file system are skipped, as the standard demands.

use bulkhead_archive::pax::{decimal, records};

use super::refusal::Refusal;
use crate::tree::{Time, Xattrs};

/// What an extended header says of the entry that follows it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Pax {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<Time>,
    pub xattrs: Xattrs,
    pub sparse: PaxSparse,
}

/// The words with which GNU tar describes a file with holes (GNU tar manual, "Storing Sparse Files").
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct PaxSparse {
    /// The version of the description.
    pub version: Option<(u64, u64)>,
    /// The file's own name; the entry's is a made-up one.
    pub name: Option<Vec<u8>>,
    /// The file's size with its holes.
    pub size: Option<u64>,
    /// Versions 0.0 and 0.1: offsets and lengths in turn.
    pub map: Option<Vec<u64>>,
}

/// How many numbers a map of holes may have.
pub(super) const MAX_MAP: usize = 1 << 17;

/// Reads the records of one extended header.
pub(super) fn read(bytes: &[u8]) -> Result<Pax, Refusal> {
    let mut pax = Pax::default();
    for record in records(bytes) {
        let (key, value) = record.ok_or(Refusal::Pax)?;
        pax.take(key, value)?;
    }
    Ok(pax)
}

impl Pax {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refusal> {
        let number = |what| decimal(value).ok_or(Refusal::Number(what));
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number("size")?),
            b"uid" => self.uid = Some(number("owner")?),
            b"gid" => self.gid = Some(number("group")?),
            b"mtime" => self.mtime = Some(time(value).ok_or(Refusal::Number("time"))?),
            b"GNU.sparse.major" => self.sparse.version.get_or_insert_default().0 = number("sparse version")?,
            b"GNU.sparse.minor" => self.sparse.version.get_or_insert_default().1 = number("sparse version")?,
            b"GNU.sparse.name" => self.sparse.name = Some(value.to_vec()),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.size = Some(number("size")?),
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                self.sparse.map.get_or_insert_default().push(decimal(value).ok_or(Refusal::Sparse)?);
            }
            b"GNU.sparse.map" => {
                let numbers = value.split(|byte| *byte == b',').filter(|number| !number.is_empty());
                let numbers: Option<_> = numbers.map(decimal).collect();
                self.sparse.map = Some(numbers.ok_or(Refusal::Sparse)?);
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.insert(name.into(), value.into());
                }
            }
        }
        match self.sparse.map.as_ref().is_some_and(|map| map.len() > MAX_MAP) {
            true => Err(Refusal::Sparse),
            false => Ok(()),
        }
    }
}

/// Seconds with an optional sign and fraction; digits behind the ninth of the fraction are cut.
fn time(text: &[u8]) -> Option<Time> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let dot = digits.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = dot.map_or((digits, &b""[..]), |dot| (&digits[..dot], &digits[dot + 1..]));
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = i64::try_from(decimal::<u64>(whole)?).ok()?;
    let digit = |index| fraction.get(index).map_or(0, |digit| u32::from(digit - b'0'));
    let nanoseconds = (0..9).fold(0, |sum, index| sum * 10 + digit(index));
    Some(match (negative, nanoseconds) {
        (false, _) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: -seconds, nanoseconds: 0 },
        (true, _) => Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &[u8]) -> Vec<u8> {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + rest.to_string().len();
        length = rest + length.to_string().len();
        [length.to_string().as_bytes(), b" ", key.as_bytes(), b"=", value, b"\n"].concat()
    }

    #[test]
    fn records_are_read() {
        let mut records = record("path", &[b'x'; 120]);
        records.extend(record("mtime", b"1600000000.123456789123"));
        records.extend(record("SCHILY.xattr.security.capability", b"\x01\0\n=\0"));
        records.extend(record("comment", b"nothing"));
        let pax = read(&records).unwrap();
        assert_eq!(pax.path.unwrap().len(), 120);
        assert_eq!(pax.mtime, Some(Time { seconds: 1_600_000_000, nanoseconds: 123_456_789 }));
        assert_eq!(&*pax.xattrs[&b"security.capability"[..]], b"\x01\0\n=\0");
    }

    #[test]
    fn times_before_1970_count_backwards() {
        assert_eq!(time(b"-1.25"), Some(Time { seconds: -2, nanoseconds: 750_000_000 }));
        assert_eq!(time(b"-3"), Some(Time { seconds: -3, nanoseconds: 0 }));
        assert_eq!(time(b"5.5"), Some(Time { seconds: 5, nanoseconds: 500_000_000 }));
        for text in [&b""[..], b"-", b"x", b"1.-", b"1e9", b"99999999999999999999"] {
            assert_eq!(time(text), None);
        }
    }

    #[test]
    fn malformed_records_are_refused() {
        for records in [
            &b"5"[..],
            b"x a=b\n",
            b"99 a=b\n",
            b"6 a=b",
            b"6 a b\n",
            b"0 a=b\n",
            b"1 \n",
            b"18446744073709551616 a=b\n",
        ] {
            assert!(read(records).is_err(), "{records:?}");
        }
        let whole = [record("path", b"abc"), record("size", b"5")].concat();
        assert!((1..whole.len()).filter(|cut| read(&whole[..*cut]).is_ok()).count() == 1);
        assert!(read(&record("size", b"-5")).is_err());
        assert!(read(&record("GNU.sparse.map", b"0,x")).is_err());
    }
}
