use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::*;
use crate::{Top, Writer, pack};

fn rules() -> Rules {
    Rules {
        only: None,
        owners: false,
        modes: 0o777,
        hard_links: false,
        limits: Limits { bytes: 1 << 20, entries: 100 },
    }
}

fn entry(name: &str, kind: Kind) -> Entry {
    Entry { name: name.into(), kind, mode: 0o4755, uid: 0, gid: 0, mtime: 1_600_000_000 }
}

fn stream(entries: &[(&str, Kind)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (name, kind) in entries {
        match kind {
            // As nobody writes it here.
            Kind::Special(_) => {
                let mut header = crate::header::Header::new(b'3');
                header.fill(name.as_bytes(), b"", [0o666, 0, 0, 0, 0]);
                let mut bytes = writer.finish().unwrap();
                bytes.truncate(bytes.len() - 1024);
                bytes.extend(header.0);
                writer = Writer::new(bytes);
            }
            kind => writer.begin(&entry(name, kind.clone())).unwrap(),
        }
        if let Kind::File(size) = kind {
            writer.body(name.as_bytes(), *size, io::repeat(b'x')).unwrap();
        }
    }
    writer.finish().unwrap()
}

fn take(folder: &Path, bytes: &[u8], rules: &Rules) -> Result<Vec<String>, ArchiveError> {
    unpack(&mut Reader::new(bytes), File::open(folder).unwrap(), rules)
}

/// A folder in a folder, with something beside it that must not change.
fn place() -> (tempfile::TempDir, std::path::PathBuf) {
    let outer = tempfile::tempdir().unwrap();
    let inner = outer.path().join("inner");
    fs::create_dir(&inner).unwrap();
    fs::create_dir(outer.path().join("other")).unwrap();
    fs::write(outer.path().join("other/canary"), "sings").unwrap();
    (outer, inner)
}

fn canary(outer: &Path) -> (String, Vec<std::ffi::OsString>) {
    let mut names: Vec<_> = fs::read_dir(outer)
        .unwrap()
        .chain(fs::read_dir(outer.join("other")).unwrap())
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    (fs::read_to_string(outer.join("other/canary")).unwrap(), names)
}

fn link(target: &str) -> Kind {
    Kind::Symlink(target.into())
}

#[test]
fn no_stream_leads_out_of_its_folder() {
    for hostile in [
        &[("../escaped", Kind::File(3))][..],
        &[("a/../../escaped", Kind::File(3))],
        &[("/tmp/escaped-absolutely", Kind::File(3))],
        &[("way", link("../other")), ("way/canary", Kind::File(3))],
        &[("way", link("../other")), ("way/new", Kind::Folder)],
        &[("way", link("..")), ("way/escaped", link("x"))],
        &[("a", Kind::Folder), ("a", link("../other")), ("a/canary", Kind::File(3))],
        &[("way", link("../other/canary")), ("way", Kind::Folder)],
        &[("way", link("/proc/self/cwd")), ("way/x", Kind::File(1))],
        &[("x", Kind::HardLink(b"../other/canary".to_vec())), ("x", Kind::File(9))],
        &[("way", link("../other")), ("x", Kind::HardLink(b"way/canary".to_vec()))],
        &[("", Kind::File(1))],
        &[(".", link("../other"))],
    ] {
        let (outer, inner) = place();
        let before = canary(outer.path());
        let rules = Rules { hard_links: true, ..rules() };
        assert!(take(&inner, &stream(hostile), &rules).is_err(), "{hostile:?}");
        assert_eq!(canary(outer.path()), before, "{hostile:?}");
    }
    // A link is replaced, and not written through.
    let (outer, inner) = place();
    let before = canary(outer.path());
    take(&inner, &stream(&[("way", link("../other/canary")), ("way", Kind::File(3))]), &rules()).unwrap();
    assert_eq!(
        (canary(outer.path()), fs::read_to_string(inner.join("way")).unwrap()),
        (before, "xxx".into())
    );
}

#[test]
fn only_what_was_asked_for_is_taken() {
    let (_outer, inner) = place();
    let rules = Rules { only: Some(b"asked".to_vec()), ..rules() };
    take(&inner, &stream(&[("asked", Kind::Folder), ("./asked/file", Kind::File(1))]), &rules).unwrap();
    for other in [&[(".bashrc", Kind::File(1))], &[("askedx", Kind::File(1))], &[("./", Kind::Folder)]] {
        assert!(take(&inner, &stream(other), &rules).is_err(), "{other:?}");
    }
    assert_eq!(fs::read_dir(&inner).unwrap().count(), 1);
}

#[test]
fn what_is_no_file_is_left_out_with_a_sentence() {
    let (_outer, inner) = place();
    let entries = [("null", Kind::Special("")), ("a", Kind::File(1)), ("b", Kind::HardLink(b"a".to_vec()))];
    let said = take(&inner, &stream(&entries), &rules()).unwrap();
    assert_eq!(said, ["\"null\" is left out: it is a device", "\"b\" is left out: it is a hard link"]);
    assert_eq!(fs::read_dir(&inner).unwrap().count(), 1);
    // No privilege comes with a file.
    assert_eq!(fs::metadata(inner.join("a")).unwrap().permissions().mode() & 0o7777, 0o755);
    let said = take(&inner, &stream(&entries), &Rules { hard_links: true, ..rules() }).unwrap();
    assert_eq!((said.len(), fs::metadata(inner.join("b")).unwrap().nlink()), (1, 2));
}

#[test]
fn limits_hold_before_anything_is_written() {
    let (_outer, inner) = place();
    let mut large = Writer::new(Vec::new());
    large.begin(&entry("large", Kind::File(1 << 40))).unwrap();
    assert!(matches!(take(&inner, &large.finish().unwrap(), &rules()), Err(ArchiveError::TooMuch { .. })));
    let many: Vec<_> = (0..101).map(|_| ("f", Kind::File(0))).collect();
    assert!(matches!(take(&inner, &stream(&many), &rules()), Err(ArchiveError::TooMuch { .. })));
    assert!(!inner.join("large").exists());
    let deep = "d/".repeat(300);
    assert!(take(&inner, &stream(&[(&deep, Kind::Folder)]), &rules()).is_err());
    // A file that is cut leaves nothing.
    let cut = stream(&[("cut", Kind::File(2000))]);
    assert!(take(&inner, &cut[..1500], &rules()).is_err() && !inner.join("cut").exists());
}

#[test]
fn folders_and_files_do_not_replace_each_other() {
    let (_outer, inner) = place();
    fs::create_dir(inner.join("folder")).unwrap();
    fs::write(inner.join("file"), "kept").unwrap();
    assert!(take(&inner, &stream(&[("folder", Kind::File(1))]), &rules()).is_err());
    assert!(take(&inner, &stream(&[("file", Kind::Folder)]), &rules()).is_err());
    assert_eq!(fs::read_to_string(inner.join("file")).unwrap(), "kept");
    take(&inner, &stream(&[("folder/sub/file", Kind::File(1)), ("file", Kind::File(2))]), &rules()).unwrap();
    assert_eq!(fs::read_to_string(inner.join("file")).unwrap(), "xx");
}

#[test]
fn a_folder_comes_back_as_it_was() {
    let (outer, inner) = place();
    let from = outer.path().join("from");
    fs::create_dir_all(from.join("sub/empty")).unwrap();
    fs::write(from.join("sub/file"), vec![3; 100_000]).unwrap();
    fs::set_permissions(from.join("sub/file"), PermissionsExt::from_mode(0o640)).unwrap();
    fs::set_permissions(from.join("sub"), PermissionsExt::from_mode(0o555)).unwrap();
    symlink("../nowhere", from.join("link")).unwrap();
    let _ = std::process::Command::new("mkfifo").arg(from.join("pipe")).status().unwrap();
    let top = Top::open(rustix::fs::CWD, from.to_str().unwrap().as_bytes(), ResolveFlags::empty(), false);
    let mut writer = Writer::new(Vec::new());
    let mut budget = Budget::new(Limits { bytes: 1 << 20, entries: 100 });
    assert_eq!(pack(&mut writer, top.unwrap(), b"copy", &mut budget).unwrap(), 1);
    take(&inner, &writer.finish().unwrap(), &rules()).unwrap();
    let copy = inner.join("copy");
    assert_eq!(fs::read(copy.join("sub/file")).unwrap(), vec![3; 100_000]);
    let mode = |path: &str| fs::metadata(copy.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("sub/file"), mode("sub")), (0o640, 0o555));
    let mtime = |path: &Path| fs::symlink_metadata(path).unwrap().mtime();
    assert_eq!(mtime(&copy.join("sub")), mtime(&from.join("sub")));
    assert_eq!(fs::read_link(copy.join("link")).unwrap(), Path::new("../nowhere"));
    assert!(copy.join("sub/empty").is_dir() && !copy.join("pipe").exists());
    // So that the temporary folder can go.
    for folder in [&from, &copy] {
        fs::set_permissions(folder.join("sub"), PermissionsExt::from_mode(0o755)).unwrap();
    }
}

#[test]
fn nothing_is_read_that_is_no_file() {
    let top = |path: &str, follow| Top::open(rustix::fs::CWD, path.as_bytes(), ResolveFlags::empty(), follow);
    for path in ["/dev/zero", "/proc/self/mem", "/proc", "/sys/kernel", "/no/such"] {
        assert!(top(path, true).is_err(), "{path}");
    }
    assert!(top("/proc/self/exe", false).is_err());
}
