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

/// Reads the records of one extended header.
pub fn read(mut records: &[u8]) -> Result<Pax, ArchiveError> {
    let mut pax = Pax::default();
    while !records.is_empty() {
        let space = records.iter().take(8).position(|byte| *byte == b' ').ok_or(WRONG)?;
        let length: usize = number(&records[..space]).ok_or(WRONG)?;
        let record = records.get(space + 1..length).and_then(|record| record.strip_suffix(b"\n"));
        let record = record.ok_or(WRONG)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or(WRONG)?;
        pax.take(&record[..equals], &record[equals + 1..])?;
        records = &records[length..];
    }
    Ok(pax)
}

impl Pax {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), ArchiveError> {
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number(value).ok_or(WRONG)?),
            b"uid" => self.uid = Some(number(value).ok_or(WRONG)?),
            b"gid" => self.gid = Some(number(value).ok_or(WRONG)?),
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

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
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
