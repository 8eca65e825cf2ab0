use super::*;

fn header(kind: u8, name: &str, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::new(kind));
    header.set_path(name).unwrap();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(1);
    header.set_gid(2);
    header.set_mtime(3);
    header.set_cksum();
    header
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

fn record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let length = (1..).find(|digits| (rest + digits).to_string().len() == *digits).unwrap() + rest;
    format!("{length} {key}={value}\n")
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let records: String = records.iter().map(|(key, value)| record(key, value)).collect();
    [header(b'x', "pax", records.len() as u64).as_bytes().to_vec(), padded(records.as_bytes())].concat()
}

fn end() -> Vec<u8> {
    vec![0; 1024]
}

type Found = (String, u64, Vec<Extent>, Vec<u8>);

fn files(archive: &[u8]) -> Result<Vec<Found>, ArchiveError> {
    let mut entries = Entries::new(archive);
    let mut files = Vec::new();
    while let Some(entry) = entries.next()? {
        let mut data = Vec::new();
        entries.read_to_end(&mut data).map_err(ArchiveError::Read)?;
        let ArchiveKind::File(size, map) = entry.kind else { continue };
        files.push((String::from_utf8(entry.name).unwrap(), size, map, data));
    }
    Ok(files)
}

#[test]
fn long_names_of_both_kinds_are_read() {
    let name = "n/".repeat(150);
    let gnu = [
        header(b'L', "././@LongLink", 301).as_bytes().to_vec(),
        padded(format!("{name}\0").as_bytes()),
        header(b'0', "short", 3).as_bytes().to_vec(),
        padded(b"abc"),
    ];
    let pax =
        [pax(&[("path", "f"), ("size", "2")]), header(b'0', "short", 0).as_bytes().to_vec(), padded(b"xy")];
    let archive = [gnu.concat(), pax.concat(), end()].concat();
    let mut entries = Entries::new(&archive[..]);
    let first = entries.next().unwrap().unwrap();
    assert_eq!(first.name, name.as_bytes());
    assert!(matches!(first.kind, ArchiveKind::Directory));
    let second = entries.next().unwrap().unwrap();
    assert_eq!(second.name, b"f");
    assert!(matches!(second.kind, ArchiveKind::File(2, _)));
    assert!(entries.next().unwrap().is_none());
    assert!(entries.ended());
}

#[test]
fn every_way_to_write_holes_is_read() {
    let data = b"abcdef";
    let map = [Extent { offset: 512, length: 4 }, Extent { offset: 9000, length: 2 }];
    let size = ("GNU.sparse.size", "10000");
    let v00 = [
        size,
        ("GNU.sparse.numblocks", "2"),
        ("GNU.sparse.offset", "512"),
        ("GNU.sparse.numbytes", "4"),
        ("GNU.sparse.offset", "9000"),
        ("GNU.sparse.numbytes", "2"),
    ];
    let v01 = [size, ("GNU.sparse.map", "512,4,9000,2"), ("GNU.sparse.name", "f")];
    let v10 = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "f"),
        ("GNU.sparse.realsize", "10000"),
    ];
    let old = |records: &[(&str, &str)]| {
        [pax(records), header(b'0', "f", 6).as_bytes().to_vec(), padded(data), end()].concat()
    };
    let with_map = [padded(b"2\n512\n4\n9000\n2\n"), data.to_vec()].concat();
    let new = [
        pax(&v10),
        header(b'0', "GNUSparseFile.1/f", with_map.len() as u64).as_bytes().to_vec(),
        padded(&with_map),
        end(),
    ];
    for archive in [old(&v00), old(&v01), new.concat()] {
        assert_eq!(files(&archive).unwrap(), [("f".to_owned(), 10_000, map.to_vec(), data.to_vec())]);
    }

    let mut gnu = Header::new_gnu();
    gnu.set_entry_type(EntryType::GNUSparse);
    gnu.set_path("f").unwrap();
    gnu.set_size(6);
    let fields = gnu.as_gnu_mut().unwrap();
    fields.set_real_size(10_000);
    fields.set_is_extended(true);
    fields.sparse[0].set_offset(512);
    fields.sparse[0].set_length(4);
    gnu.set_cksum();
    let mut more = tar::GnuExtSparseHeader::new();
    more.sparse_mut()[0].set_offset(9000);
    more.sparse_mut()[0].set_length(2);
    let archive = [gnu.as_bytes().to_vec(), more.as_bytes().to_vec(), padded(data), end()].concat();
    assert_eq!(files(&archive).unwrap(), [("f".to_owned(), 10_000, map.to_vec(), data.to_vec())]);
}

#[test]
fn maps_that_lie_are_refused() {
    for map in ["512,4", "512,4,514,2", "9000,2,512,4", "0,4,9999,2", "0,18446744073709551615,1,7", "1", ""] {
        let records = [("GNU.sparse.size", "10000"), ("GNU.sparse.map", map)];
        let archive =
            [pax(&records), header(b'0', "f", 6).as_bytes().to_vec(), padded(b"abcdef"), end()].concat();
        assert!(matches!(files(&archive), Err(ArchiveError::Entry(_, Refusal::Sparse))), "{map}");
    }
}

/// Whether an archive is read to its end.
fn is_whole(mut entries: Entries<&[u8]>) -> bool {
    loop {
        match entries.next() {
            Ok(Some(_)) => {}
            Ok(None) => return entries.ended(),
            Err(_) => return false,
        }
    }
}

#[test]
fn an_archive_cut_anywhere_is_noticed() {
    let parts = [pax(&[("path", "f")]), header(b'0', "x", 600).as_bytes().to_vec(), vec![7; 1024], end()];
    let archive = parts.concat();
    for cut in 0..archive.len() - 512 {
        assert!(!is_whole(Entries::new(&archive[..cut])), "cut at {cut}");
    }
    // What is known by its digest may end behind an entry, or behind nothing, and nowhere else.
    let data = archive.len() - end().len() - 1024;
    for cut in 0..archive.len() {
        let behind = cut == 0 || cut >= data + 600;
        let in_the_mark = cut > data + 1024 && cut < data + 1024 + 512;
        assert_eq!(is_whole(Entries::of_whole(&archive[..cut])), behind && !in_the_mark, "cut at {cut}");
    }
}

#[test]
fn headers_that_lie_are_refused() {
    let mut header = header(b'0', "f", 6);
    header.as_mut_bytes()[0] = b'g';
    assert!(matches!(files(header.as_bytes()), Err(ArchiveError::Entry(_, Refusal::Checksum))));
    let huge = self::header(b'x', "pax", 1 << 40);
    assert!(matches!(files(huge.as_bytes()), Err(ArchiveError::Entry(_, Refusal::LongHeader(_)))));
    let endless: Vec<u8> = (0..100).flat_map(|_| pax(&[("path", "f")])).collect();
    assert!(matches!(files(&endless), Err(ArchiveError::Entry(_, Refusal::Pax))));
    let strange = self::header(b'D', "f", 0);
    assert!(matches!(files(strange.as_bytes()), Err(ArchiveError::Entry(_, Refusal::Type('D')))));
}
