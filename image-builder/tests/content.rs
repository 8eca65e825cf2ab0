//! What is in a built root is what the layers say: seen through the kernel, entry by entry.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use support::layout::{Layer, Layout};
use support::{Mounted, build, run, tree};
use tar::EntryType;

#[test]
fn layers_become_one_file_system() {
    let folder = tempfile::tempdir().unwrap();
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(255));
    let first = Layer::new()
        .directory("./")
        .directory("./etc/")
        .file("etc/passwd", b"root:x:0:0::/:/bin/sh\n")
        .file("/absolute", b"a")
        .file("gone", b"b")
        .directory("opaque")
        .file("opaque/low", b"c")
        .symlink("link", "/etc/passwd")
        .entry(EntryType::Char, "char", "", b"")
        .entry(EntryType::Block, "block", "", b"")
        .entry(EntryType::Fifo, "pipe", "", b"");
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let second = Layer::new()
        .file(".wh.gone", b"")
        .file("opaque/.wh..wh..opq", b"")
        .file("opaque/high", b"d")
        .entry(EntryType::Link, "hard", "etc/passwd", b"")
        .pax(&[("path", long.as_bytes()), ("mtime", b"1700000000.123456789")])
        .file("short", b"e")
        .pax(&[("SCHILY.xattr.security.capability", capability), ("SCHILY.xattr.user.note", b"n")])
        .file("capable", b"f")
        .pax(&[("GNU.sparse.map", b"0,1,9000000,2"), ("GNU.sparse.size", b"10000000")])
        .file("sparse", b"xyz");
    let third = Layer::new().file("big", &[7; 70_000]).file("exact", &[8; 8192]).file("empty", b"");
    let layers = [first.finish(), second.finish(), third.finish()];
    let layout = Layout::with_layers(folder.path(), &layers);
    let image = build(folder.path(), &layout.source());
    let mounted = Mounted::new(&image);
    let root = mounted.path();

    let seen = tree::seen(root);
    let names: Vec<_> = seen.keys().map(|path| path.to_string_lossy().into_owned()).collect();
    let (directory, _) = long.split_once('/').unwrap();
    let expected = [
        "",
        "absolute",
        "big",
        "block",
        "capable",
        "char",
        directory,
        &long,
        "empty",
        "etc",
        "etc/passwd",
        "exact",
        "hard",
        "link",
        "opaque",
        "opaque/high",
        "pipe",
        "sparse",
    ];
    assert_eq!(names, expected);

    let metadata = fs::symlink_metadata(root.join("hard")).unwrap();
    assert_eq!((metadata.uid(), metadata.gid(), metadata.mtime()), (10, 20, 1_000_000_000));
    assert_eq!((metadata.permissions().mode(), metadata.nlink()), (0o100_750, 2));
    assert_eq!(metadata.ino(), fs::metadata(root.join("etc/passwd")).unwrap().ino());
    let metadata = fs::symlink_metadata(root.join(&long)).unwrap();
    assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (1_700_000_000, 123_456_789));
    assert_eq!(fs::symlink_metadata(root.join("block")).unwrap().rdev(), libc_makedev(7, 300));
    assert_eq!(fs::read_link(root.join("link")).unwrap().to_str(), Some("/etc/passwd"));
    let xattrs = &seen[std::path::Path::new("capable")].xattrs;
    assert_eq!(xattrs[&b"security.capability"[..]], capability);
    assert_eq!(xattrs[&b"user.note"[..]], b"n");
    assert_eq!(fs::read(root.join("big")).unwrap(), [7; 70_000]);
    assert_eq!(fs::read(root.join("exact")).unwrap(), [8; 8192]);
    let sparse = fs::read(root.join("sparse")).unwrap();
    assert_eq!(sparse.len(), 10_000_000);
    assert_eq!((sparse[0], &sparse[8_999_999..9_000_003]), (b'x', &b"\0yz\0"[..]));
    assert!(fs::metadata(&image).unwrap().len() < 200_000, "holes take room");
}

/// The number that user space sees of a device.
fn libc_makedev(major: u32, minor: u32) -> u64 {
    rustix::fs::makedev(major, minor)
}

#[test]
fn large_directories_and_many_small_files_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let mut layer = Layer::new();
    for index in 0..3000_u32 {
        let size = (index * 37 % 4200) as usize;
        layer = layer.file(&format!("many/name-{index:05}"), &vec![(index % 251) as u8; size]);
    }
    for name in ["many/!first", "many/-dash", "many/~last"] {
        layer = layer.file(name, name.as_bytes());
    }
    let layout = Layout::with_layers(folder.path(), &[layer.finish()]);
    let mounted = Mounted::new(&build(folder.path(), &layout.source()));
    for index in 0..3000_u32 {
        let bytes = fs::read(mounted.path().join(format!("many/name-{index:05}"))).unwrap();
        assert!(
            bytes.len() == (index * 37 % 4200) as usize
                && bytes.iter().all(|byte| *byte == (index % 251) as u8)
        );
    }
    for name in ["many/!first", "many/-dash", "many/~last"] {
        assert_eq!(fs::read(mounted.path().join(name)).unwrap(), name.as_bytes());
    }
    assert!(!mounted.path().join("many/name-99999").exists());
}

#[test]
fn a_folder_and_a_tar_of_it_give_the_same_root() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::write(root.join("a/file"), b"content").unwrap();
    fs::hard_link(root.join("a/file"), root.join("a/b/other")).unwrap();
    std::os::unix::fs::symlink("../file", root.join("a/b/link")).unwrap();
    let root_path = root.to_string_lossy().into_owned();
    run("mknod", &[&format!("{root_path}/null"), "c", "1", "3"]);
    run("mkfifo", &[&format!("{root_path}/pipe")]);
    let tar = folder.path().join("root.tar");
    run("tar", &["--format=pax", "-C", &root_path, "-cf", &tar.to_string_lossy(), "."]);

    let from_folder = Mounted::new(&build(folder.path(), &format!("dir:{root_path}")));
    tree::assert_same(from_folder.path(), &root);
    let other = tempfile::tempdir().unwrap();
    let from_tar = Mounted::new(&build(other.path(), &format!("tar:{}", tar.display())));
    tree::assert_same(from_tar.path(), &root);
    for (program, name) in [("gzip", "root.tar.gz"), ("zstd", "root.tar.zst"), ("xz", "root.tar.xz")] {
        let _ = fs::remove_file(folder.path().join(name));
        run(program, &["-k", &tar.to_string_lossy()]);
        let path = folder.path().join(name);
        let compressed = Mounted::new(&build(other.path(), &format!("tar:{}", path.display())));
        tree::assert_same(compressed.path(), &root);
    }
}

#[test]
fn extremes_arrive() {
    let folder = tempfile::tempdir().unwrap();
    let target = "t".repeat(4095);
    let (huge, words) = (vec![b'v'; 60_000], vec![b'w'; 4000]);
    let acl = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x04\0\x04\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";
    let layer = Layer::new()
        .pax(&[("SCHILY.xattr.user.huge", &huge), ("SCHILY.xattr.user.other", b"o")])
        .file("huge", &[3; 5000])
        .pax(&[("SCHILY.xattr.user.words", &words)])
        .directory("directory")
        .file("directory/file", b"inner")
        .pax(&[("SCHILY.xattr.system.posix_acl_access", acl)])
        .file("acl", b"a")
        .pax(&[("linkpath", target.as_bytes())])
        .symlink("link", "short")
        .pax(&[("GNU.sparse.map", b"4096,3,1099511627773,3"), ("GNU.sparse.size", b"1099511627776")])
        .file("tebibyte", b"onetwo");
    let layout = Layout::with_layers(folder.path(), &[layer.finish()]);
    let mounted = Mounted::new(&build(folder.path(), &layout.source()));
    let xattr = |name: &str, attribute: &str| {
        let mut value = vec![0; 65_536];
        let length = rustix::fs::lgetxattr(mounted.path().join(name), attribute, &mut value[..]).unwrap();
        value.truncate(length);
        value
    };
    assert!(xattr("huge", "user.huge") == huge && xattr("huge", "user.other") == b"o");
    assert!(xattr("directory", "user.words") == words);
    assert_eq!(xattr("acl", "system.posix_acl_access"), acl);
    assert_eq!(fs::read(mounted.path().join("huge")).unwrap(), [3; 5000]);
    assert_eq!(fs::read(mounted.path().join("directory/file")).unwrap(), b"inner");
    assert_eq!(fs::read_link(mounted.path().join("link")).unwrap().to_str().unwrap(), target);
    let file = fs::File::open(mounted.path().join("tebibyte")).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 1 << 40);
    let mut bytes = [1; 8];
    for (place, expected) in [(4095, b"\0one\0\0\0\0"), (1 << 39, &[0; 8]), ((1 << 40) - 8, b"\0\0\0\0\0two")]
    {
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, place).unwrap();
        assert_eq!(&bytes, expected, "at {place}");
    }
}
