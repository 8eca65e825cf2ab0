//! The reader of built roots sees what the kernel sees, and survives anything else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bulkhead_image::limits::Limits;
use bulkhead_image::root_reader::{REGULAR, RootReadError, RootReader, SYMLINK};
use sha2::{Digest, Sha256};
use support::layout::{Layer, Layout};
use support::{Mounted, build, bulkhead_image, tree};
use tar::EntryType;

/// A root with everything that the format has a form of its own for.
fn layout(folder: &Path) -> Layout {
    let (huge, target) = (vec![b'v'; 60_000], "t".repeat(4095));
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let mut layer = Layer::new()
        .directory("etc")
        .file("etc/passwd", b"root:x:0:0::/:/bin/sh\n")
        .entry(EntryType::Link, "hard", "etc/passwd", b"")
        .symlink("link", "etc/passwd")
        .entry(EntryType::Char, "char", "", b"")
        .entry(EntryType::Block, "block", "", b"")
        .entry(EntryType::Fifo, "pipe", "", b"")
        .pax(&[("SCHILY.xattr.user.huge", &huge), ("SCHILY.xattr.security.capability", capability)])
        .file("huge", &[3; 5000])
        .pax(&[("linkpath", target.as_bytes())])
        .symlink("long", "short")
        .pax(&[("GNU.sparse.map", b"0,1,9000000,2"), ("GNU.sparse.size", b"10000000")])
        .file("sparse", b"xyz")
        .file("exact", &[8; 8192])
        .file("empty", b"");
    for index in 0..700_usize {
        layer = layer.file(&format!("many/name-{index:05}"), &vec![(index % 251) as u8; index * 37 % 9000]);
    }
    Layout::with_layers(folder, &[layer.finish()])
}

fn reader(image: &Path) -> RootReader {
    let manifest = bulkhead_image::read_manifest(image).unwrap();
    RootReader::open(File::open(image).unwrap(), 0, manifest.parts["root"].size).unwrap()
}

#[test]
fn the_reader_sees_what_the_kernel_sees() {
    let folder = tempfile::tempdir().unwrap();
    let image = build(folder.path(), &layout(folder.path()).source());
    let mounted = Mounted::new(&image);
    let expected = tree::seen(mounted.path());
    let reader = reader(&image);
    let (mut count, mut first) = (0, BTreeMap::new());
    reader
        .walk(&Limits::default(), |path, inode| {
            let path = Path::new(std::ffi::OsStr::from_bytes(path)).to_owned();
            let seen = expected.get(&path).unwrap_or_else(|| panic!("{} is not there", path.display()));
            let content = match (inode.is(REGULAR), inode.is(SYMLINK)) {
                (true, _) => Sha256::digest(reader.content(inode, u64::MAX)?.unwrap()).to_vec(),
                (_, true) => reader.content(inode, 4096)?.unwrap(),
                _ => Vec::new(),
            };
            let times = (inode.mtime.seconds, i64::from(inode.mtime.nanoseconds));
            let xattrs = inode.xattrs.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
            let same_as = first.entry(inode.id).or_insert_with(|| path.clone());
            assert_eq!(
                (
                    u32::from(inode.mode),
                    (inode.uid, inode.gid),
                    times,
                    u64::from(inode.links),
                    content,
                    xattrs
                ),
                (seen.mode, seen.owner, seen.mtime, seen.links, seen.content.clone(), seen.xattrs.clone()),
                "{}",
                path.display()
            );
            assert_eq!(*same_as, seen.same_as);
            count += 1;
            Ok::<(), RootReadError>(())
        })
        .unwrap();
    assert_eq!(count, expected.len());
}

#[test]
fn the_files_of_an_image_are_listed_with_their_names_escaped() {
    let folder = tempfile::tempdir().unwrap();
    let layer = Layer::new()
        .directory("a")
        .pax(&[("path", b"a/line\nbreak\x1b[31m")])
        .file("x", b"four")
        .symlink("link", "/etc/\tx");
    let image = build(folder.path(), &Layout::with_layers(folder.path(), &[layer.finish()]).source());
    let listed = bulkhead_image(&["inspect", "--files", &image.to_string_lossy()]);
    let text = String::from_utf8(listed.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("d 0755 0:0 ") && lines[0].ends_with(" /"), "{text}");
    assert!(lines[1].starts_with("d 0750 10:20 ") && lines[1].ends_with(" /a"), "{text}");
    assert_eq!(lines[2..], ["- 0750 10:20 4 /a/line\\nbreak\\x1b[31m", "l 0777 10:20 7 /link -> /etc/\\tx"]);
}

#[test]
fn a_damaged_root_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let layer = Layer::new().directory("a").file("a/b", &[1; 5000]).symlink("c", "a/b");
    let layer = layer.pax(&[("SCHILY.xattr.user.x", b"y")]).file("d", b"").finish();
    let image = build(folder.path(), &Layout::with_layers(folder.path(), &[layer]).source());
    let size = bulkhead_image::read_manifest(&image).unwrap().parts["root"].size;
    let good = fs::read(&image).unwrap();
    let damaged = folder.path().join("damaged");
    let limits = Limits { entries: 1000, ..Limits::default() };
    let (mut refused, mut read) = (0, 0);
    for place in 1024..usize::try_from(size.min(4096)).unwrap() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[place] ^= flip;
            fs::write(&damaged, &bytes).unwrap();
            let opened = RootReader::open(File::open(&damaged).unwrap(), 0, size);
            let walked = opened
                .and_then(|reader| reader.walk(&limits, |_, inode| reader.content(inode, 1 << 20).map(drop)));
            match walked {
                Ok(()) => read += 1,
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 100 && read > 100, "{refused} refused, {read} read");
}
