//! A root as squashfs is the root as EROFS, in fewer bytes; what it cannot hold is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use support::layout::{Layer, Layout};
use support::{Mounted, build, build_as, bulkhead_image, refusal, run, tree};
use tar::{EntryType, Header};

/// The device that overlays take for a name that is not there.
fn whiteout() -> Header {
    let mut header = Header::new_ustar();
    header.set_path("whiteout").unwrap();
    header.set_entry_type(EntryType::Char);
    header.set_mode(0o4755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header.set_mtime(0);
    header.set_device_major(0).unwrap();
    header.set_device_minor(0).unwrap();
    header.set_cksum();
    header
}

/// What is hard to carry through a tar, beside what the images of `umoci.rs` have.
fn hard(links: bool) -> Layer {
    let whiteout = whiteout();
    let deep = format!("{}/f", vec!["d".repeat(250); 15].join("/"));
    let link = "t".repeat(4000);
    let layer = Layer::new()
        .pax(&[
            ("uid", b"4000000000"),
            ("gid", b"3000000000"),
            ("mtime", b"4294967295"),
            ("SCHILY.xattr.user.root", b"r"),
        ])
        .directory("./")
        .header(&whiteout, b"")
        .pax(&[("uid", b"4294967294"), ("gid", b"2097152"), ("mtime", b"2147483648")])
        .file("owner", b"1")
        .pax(&[("SCHILY.xattr.user.bytes", b"a\nb\0c=d"), ("SCHILY.xattr.user.empty", b"")])
        .file("-force", b"an option")
        .pax(&[("path", b"new\nline \xff\\*?")])
        .file("x", b"2")
        .pax(&[("path", deep.as_bytes())])
        .file("x", b"3")
        .pax(&[("linkpath", link.as_bytes())])
        .symlink("long", "x")
        .file("zeros", &[&vec![0; 3 << 20][..], b"end"].concat())
        .pax(&[("SCHILY.xattr.security.capability", b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0")])
        .file("capable", b"4");
    if !links {
        return layer;
    }
    layer
        .entry(EntryType::Fifo, "pipe", "", b"")
        .entry(EntryType::Link, "pipe-2", "pipe", b"")
        .entry(EntryType::Link, "long-2", "long", b"")
        .entry(EntryType::Link, "whiteout-2", "whiteout", b"")
        .entry(EntryType::Link, "capable-2", "capable", b"")
        .entry(EntryType::Link, "a-first-name", "capable", b"")
}

#[test]
fn the_root_is_the_one_of_erofs() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for links in [false, true] {
        let layout = Layout::with_layers(folder.path(), &[hard(links).finish()]);
        let ours = Mounted::squashfs(&build_as(folder.path(), &layout.source(), "squashfs"));
        let expected = Mounted::new(&build(folder.path(), &layout.source()));
        tree::assert_same(ours.path(), expected.path());
    }
}

#[test]
fn two_builds_give_equal_bytes_and_the_time_is_the_superblock_s() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::with_layers(folder.path(), &[hard(true).finish()]);
    let first = fs::read(build_as(folder.path(), &layout.source(), "squashfs")).unwrap();
    let other = folder.path().join("other");
    let built = |processors: &str, time: &str| {
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", processors, env!("CARGO_BIN_EXE_bulkhead-image")]);
        command.args([
            "build",
            &layout.source(),
            "--format",
            "squashfs",
            "--output",
            &other.to_string_lossy(),
        ]);
        let output = command.env("SOURCE_DATE_EPOCH", time).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let bytes = fs::read(&other).unwrap();
        let size =
            usize::try_from(bulkhead_image::read_manifest(&other).unwrap().parts["root"].size).unwrap();
        (bytes, size)
    };
    // On one processor alone there is one thread.
    assert!(built("0", "0").0 == first);
    let (bytes, size) = built("0", "1700000000");
    assert_eq!(&bytes[8..12], 1_700_000_000_u32.to_le_bytes());
    assert!(bytes[12..size] == first[12..size] && bytes[..8] == first[..8]);
}

#[test]
fn what_it_cannot_hold_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |layer: Layer| {
        let layout = Layout::with_layers(folder.path(), &[layer.finish()]);
        let output = folder.path().join("out").to_string_lossy().into_owned();
        refusal(&["build", &layout.source(), "--format", "squashfs", "-o", &output], folder.path())
    };
    let with = |key: &str, value: &[u8]| refused(Layer::new().pax(&[(key, value)]).file("x", b""));
    let time = "A squashfs cannot hold \"x\": its time is before 1970 or after 2106-02-07";
    assert_eq!((with("mtime", b"-1").as_str(), with("mtime", b"4294967296").as_str()), (time, time));
    assert!(with("SCHILY.xattr.system.posix_acl_access", b"\x02\0\0\0").ends_with("an access control list"));
    assert!(with("SCHILY.xattr.user.large", &[b'x'; 65_520]).ends_with("larger than 64 KiB"));
    let layout = Layout::with_layers(folder.path(), &[Layer::new().file("x", b"").finish()]);
    let output = folder.path().join("out").to_string_lossy().into_owned();
    let words = ["build", &layout.source(), "--format", "squashfs", "-o", &output];
    let late = refusal(&[&words[..], &["--build-time", "4294967296"]].concat(), folder.path());
    assert!(late.starts_with("A squashfs cannot hold the time 4294967296"), "{late}");
}

#[test]
fn more_owners_than_it_has_numbers_for_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    // Not in one folder: tar2sqfs looks for a name among all of its folder's.
    let owners = (0..65_536_u32).fold(Layer::new(), |layer, id| {
        layer.pax(&[("uid", id.to_string().as_bytes())]).file(&format!("{}/{id}", id % 256), b"")
    });
    fs::write(path("tar"), owners.finish()).unwrap();
    let words = ["build", &format!("tar:{}", path("tar")), "--format", "squashfs", "-o", &path("out")];
    let result = bulkhead_image(&words);
    assert_eq!(
        String::from_utf8(result.stderr).unwrap(),
        "bulkhead-image: A squashfs cannot hold more than 65535 different owners and groups\n"
    );
    assert!(!Path::new(&path("out")).exists());
}

#[test]
fn what_no_tar_can_hold_is_refused() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let refused = |root: &str| {
        let words = ["build", &format!("dir:{}", path(root)), "--format", "squashfs", "-o", &path("out")];
        let result = bulkhead_image(&words);
        assert!(!Path::new(&path("out")).exists());
        String::from_utf8(result.stderr).unwrap()
    };
    fs::create_dir(path("a")).unwrap();
    let _socket = UnixListener::bind(folder.path().join("a/socket")).unwrap();
    assert_eq!(
        refused("a"),
        "bulkhead-image: A squashfs cannot hold \"socket\": it is a socket, which no tar can hold\n"
    );
    fs::create_dir(path("b")).unwrap();
    fs::write(path("b/x"), "").unwrap();
    rustix::fs::setxattr(path("b/x"), "user.a=b", b"", rustix::fs::XattrFlags::empty()).unwrap();
    let said = refused("b");
    assert!(said.ends_with("\"x\": it has an extended attribute with = in its name\n"), "{said}");
}

#[test]
fn a_machine_without_tar2sqfs_is_told_what_to_install() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::with_layers(folder.path(), &[Layer::new().file("x", b"").finish()]);
    let output = folder.path().join("out");
    let mut command = Command::new(env!("CARGO_BIN_EXE_bulkhead-image"));
    command.args(["build", &layout.source(), "--format", "squashfs", "-o", &output.to_string_lossy()]);
    let result = command.env("PATH", folder.path()).output().unwrap();
    let said = String::from_utf8(result.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("Cannot start tar2sqfs") && said.contains("squashfs-tools-ng"), "{said}");
    assert!(!output.exists());
}

#[test]
fn an_image_is_verified_and_listed_by_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let status = b"Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36\n";
    let layout =
        Layout::with_layers(folder.path(), &[Layer::new().file("var/lib/dpkg/status", status).finish()]);
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    for format in ["erofs", "squashfs"] {
        let (image, list) = (path(&format!("{format}.img")), path(&format!("{format}.json")));
        let words = ["build", &layout.source(), "--format", format, "-o", &image, "--sbom", &list];
        let built = bulkhead_image(&words);
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    }
    let list = fs::read(path("squashfs.json")).unwrap();
    assert!(list == fs::read(path("erofs.json")).unwrap() && list.windows(5).any(|word| word == b"libc6"));
    run(env!("CARGO_BIN_EXE_bulkhead-image"), &["inspect", "--verify", &path("squashfs.img")]);
    let said = refusal(&["inspect", "--files", &path("squashfs.img")], folder.path());
    assert_eq!(said, "The root file system is a squashfs, whose files are listed by unsquashfs and not here");
    assert_eq!(refusal(&["sbom", &path("squashfs.img")], folder.path()), said);
    let mut bytes = fs::read(path("squashfs.img")).unwrap();
    bytes[200] ^= 1;
    fs::write(path("changed"), bytes).unwrap();
    let said = refusal(&["inspect", "--verify", &path("changed")], folder.path());
    assert!(said.contains("does not match the digest"), "{said}");
}
