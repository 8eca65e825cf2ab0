//! Extended headers: records `LENGTH KEY=VALUE\n`, where LENGTH counts all of the record.

use crate::ArchiveError;

/// What an extended header says of the entry that follows it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Pax {
    /// Its path.
    pub path: Option<Vec<u8>>,
    /// Where it leads.
    pub link: Option<Vec<u8>>,
    /// How many bytes follow.
    pub size: Option<u64>,
    /// Its owner.
    pub uid: Option<u32>,
    /// Its group.
    pub gid: Option<u32>,
    /// When it was changed, in seconds.
    pub mtime: Option<i64>,
}

const WRONG: ArchiveError = ArchiveError::Header("its extended header is malformed");

/// A record's key and value.
pub type Record<'a> = (&'a [u8], &'a [u8]);

/// The records of one extended header. None is a record that is malformed, and the last one.
pub fn records(mut bytes: &[u8]) -> impl Iterator<Item = Option<Record<'_>>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let (first, rest) = split(bytes).map_or((None, &b""[..]), |(first, rest)| (Some(first), rest));
        bytes = rest;
        Some(first)
    })
}

/// The key and the value of the first record, and what is behind it.
fn split(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let length = decimal(&bytes[..space])?;
    let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some(((&record[..equals], &record[equals + 1..]), &bytes[length..]))
}

/// Reads the records of one extended header.
pub fn read(bytes: &[u8]) -> Result<Pax, ArchiveError> {
    let mut pax = Pax::default();
    for record in records(bytes) {
        let (key, value) = record.ok_or(WRONG)?;
        pax.take(key, value)?;
    }
    Ok(pax)
}

impl Pax {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), ArchiveError> {
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(decimal(value).ok_or(WRONG)?),
            b"uid" => self.uid = Some(decimal(value).ok_or(WRONG)?),
            b"gid" => self.gid = Some(decimal(value).ok_or(WRONG)?),
            b"mtime" => {
                let whole = value.split(|byte| *byte == b'.').next().unwrap_or_default();
                let text = std::str::from_utf8(whole).ok();
                self.mtime = Some(text.and_then(|text| text.parse().ok()).ok_or(WRONG)?);
            }
            key if key.starts_with(b"GNU.sparse.") => {
                return Err(ArchiveError::Header("files with holes are not taken"));
            }
            // Extended attributes, comments, times of reading: not copied.
            _ => {}
        }
        Ok(())
    }
}

/// A record.
pub fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    // The length has as many digits as it needs to count them.
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key.as_bytes(), b"=", value, b"\n"].concat()
}

/// A number of digits and nothing else.
pub fn decimal<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_count_themselves() {
        for length in [1, 80, 88, 89, 90, 91, 92, 93, 94, 980, 990, 991, 992, 993, 5000] {
            let value = vec![b'x'; length];
            let pax = read(&record("path", &value)).unwrap();
            assert_eq!(pax.path, Some(value));
        }
        let pax = read(&[record("mtime", b"-5.5"), record("size", b"7"), record("comment", b"x")].concat());
        assert_eq!(pax.unwrap(), Pax { mtime: Some(-5), size: Some(7), ..Pax::default() });
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
        assert!(read(&record("size", b"-5")).is_err() && read(&record("GNU.sparse.map", b"0,1")).is_err());
    }
}
