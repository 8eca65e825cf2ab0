use proptest::prelude::*;

use super::*;
use crate::Writer;

fn entry(name: &[u8], kind: Kind) -> Entry {
    Entry { name: name.to_vec(), kind, mode: 0o644, uid: 1000, gid: 0, mtime: 1_600_000_000 }
}

fn written(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, body) in entries {
        writer.begin(entry).unwrap();
        if let Kind::File(size) = entry.kind {
            writer.body(&entry.name, size, body.as_slice()).unwrap();
        }
    }
    writer.finish().unwrap()
}

fn read(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, ArchiveError> {
    let mut reader = Reader::new(bytes);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut body = Vec::new();
        reader.read_to_end(&mut body).map_err(ArchiveError::Read).or_else(|error| match &entry.kind {
            // The end of a body is no error; of a stream it is.
            Kind::File(size) if body.len() as u64 == *size => Ok(0),
            _ => Err(error),
        })?;
        entries.push((entry, body));
    }
    Ok(entries)
}

proptest! {
    #[test]
    fn what_was_written_is_read(
        names in prop::collection::vec("[a-z]{1,20}(/[a-z]{1,80}){0,4}", 1..6),
        size in 0_usize..2000,
        uid in any::<u32>(),
        mtime in -5_i64..1 << 40,
    ) {
        let entries: Vec<(Entry, Vec<u8>)> = names.iter().enumerate().map(|(index, name)| {
            let (kind, body) = match index % 4 {
                0 => (Kind::File(size as u64), vec![b'x'; size]),
                1 => (Kind::Folder, Vec::new()),
                2 => (Kind::Symlink(name.repeat(3).into()), Vec::new()),
                _ => (Kind::HardLink(name.clone().into()), Vec::new()),
            };
            (Entry { uid, mtime, ..entry(name.as_bytes(), kind) }, body)
        }).collect();
        prop_assert_eq!(read(&written(&entries)).unwrap(), entries);
    }

    #[test]
    fn noise_is_an_error(noise in prop::collection::vec(1_u8.., 0..3000)) {
        prop_assert!(read(&noise).is_err());
    }

    #[test]
    fn a_damaged_stream_is_an_error_or_another_one(at in 0_usize..4096, byte in any::<u8>()) {
        let mut bytes = written(&[
            (entry(&[b'n'; 150], Kind::File(600)), vec![7; 600]),
            (entry(b"link", Kind::Symlink(b"there".to_vec())), Vec::new()),
        ]);
        let length = bytes.len();
        bytes[at % length] = byte;
        let _ = read(&bytes);
    }
}

#[test]
fn a_stream_that_is_cut_ends_early() {
    let bytes = written(&[(entry(b"file", Kind::File(700)), vec![1; 700])]);
    // One block of zeros is an end, as everybody has it.
    for cut in 0..bytes.len() - 1024 {
        assert!(read(&bytes[..cut]).is_err(), "{cut}");
    }
    assert!(read(&bytes).is_ok());
}

#[test]
fn what_gnu_s_tar_writes_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let long = "n".repeat(120);
    std::fs::write(folder.path().join(&long), b"body").unwrap();
    std::os::unix::fs::symlink("x".repeat(200), folder.path().join("link")).unwrap();
    for format in ["gnu", "pax", "ustar"] {
        let tar = std::process::Command::new("tar")
            .args(["-C", folder.path().to_str().unwrap(), "--format", format, "-cf", "-"])
            .args(if format == "ustar" { vec!["--exclude=link", "--exclude=nn*", "."] } else { vec!["."] })
            .output()
            .unwrap();
        let entries = read(&tar.stdout).unwrap();
        assert_eq!(entries[0].0.kind, Kind::Folder);
        if format != "ustar" {
            let found = entries.iter().find(|(entry, _)| entry.name.ends_with(long.as_bytes())).unwrap();
            assert_eq!(found.1, b"body");
            assert!(entries.iter().any(|(entry, _)| entry.kind == Kind::Symlink(vec![b'x'; 200])));
        }
    }
}
