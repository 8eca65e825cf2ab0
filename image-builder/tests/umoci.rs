//! The tree of a root equals the tree that umoci unpacks from the same image; what skopeo makes of the image
//! gives the same root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use support::layout::{Layer, Layout, MANIFEST};
use support::{Mounted, build, build_as, bulkhead_image, run, tree};
use tar::EntryType;

/// A second and a third layer on top of a base, each with what is hard about layers.
fn change(root: &Path, round: usize) {
    let path = |name: &str| root.join(name);
    if round == 0 {
        for name in ["usr/lib/deep/er", "etc", "var/keep", "var/drop/inner", "replaced-dir"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        for name in
            ["usr/lib/deep/er/x", "etc/passwd", "var/keep/a", "var/drop/inner/b", "replaced-dir/c", "file"]
        {
            fs::write(path(name), name).unwrap();
        }
        symlink("usr/lib", path("lib")).unwrap();
        fs::write(path("long").with_file_name("n".repeat(255)), vec![1; 5000]).unwrap();
        run("mknod", &[&path("device").to_string_lossy(), "b", "259", "1000"]);
        run("chown", &["4000000000:123", &path("file").to_string_lossy()]);
        run("chmod", &["6751", &path("file").to_string_lossy()]);
        let file = fs::File::create(path("sparse")).unwrap();
        file.set_len(5 << 20).unwrap();
        xattr(&path("etc/passwd"), "user.one", b"1");
        xattr(&path("etc"), "trusted.two", &[0, 1, 2]);
    } else {
        fs::remove_dir_all(path("var/drop")).unwrap();
        fs::create_dir(path("var/drop")).unwrap();
        fs::write(path("var/drop/new"), "new").unwrap();
        fs::remove_dir_all(path("replaced-dir")).unwrap();
        fs::write(path("replaced-dir"), "now a file").unwrap();
        fs::remove_file(path("file")).unwrap();
        fs::create_dir(path("file")).unwrap();
        fs::hard_link(path("etc/passwd"), path("etc/passwd-")).unwrap();
        fs::write(path("lib/through-link"), "x").unwrap();
        fs::remove_file(path("usr/lib/deep/er/x")).unwrap();
        run("touch", &["-d", "1969-01-02 03:04:05.678 UTC", &path("var/keep/a").to_string_lossy()]);
    }
}

fn xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::setxattr(path, name, value, rustix::fs::XattrFlags::empty())
        .unwrap_or_else(|error| panic!("this test needs root and a file system with {name}: {error}"));
}

#[test]
fn the_root_is_what_umoci_unpacks() {
    // Not on a tmpfs, which knows no user attributes on older kernels.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let image = format!("{}:v1", path("layout"));
    run("umoci", &["init", "--layout", &path("layout")]);
    run("umoci", &["new", "--image", &image]);
    for round in 0..2 {
        let bundle = path(&format!("bundle{round}"));
        run("umoci", &["unpack", "--image", &image, &bundle]);
        change(&Path::new(&bundle).join("rootfs"), round);
        run("umoci", &["repack", "--image", &image, &bundle]);
    }
    run("umoci", &["config", "--image", &image, "--config.entrypoint", "/bin/sh", "--config.user", "1:2"]);
    run("umoci", &["unpack", "--image", &image, &path("expected")]);

    let built = build(folder.path(), &format!("oci:{image}"));
    let mounted = Mounted::new(&built);
    tree::assert_same(mounted.path(), &folder.path().join("expected/rootfs"));

    let manifest = bulkhead_image::read_manifest(&built).unwrap();
    assert_eq!(
        (manifest.config.entrypoint, manifest.config.user),
        (vec!["/bin/sh".to_owned()], "1:2".to_owned())
    );
    let root = &manifest.parts["root"].sha256;
    for transport in ["oci-archive", "docker-archive"] {
        let archive = format!("{transport}:{}:example.org/name:v1", path(transport));
        run("skopeo", &["--insecure-policy", "copy", &format!("oci:{image}"), &archive]);
        let output = path("from-archive");
        let result = bulkhead_image(&["build", &archive, "--output", &output]);
        assert!(result.status.success(), "{}", String::from_utf8_lossy(&result.stderr));
        let manifest = bulkhead_image::read_manifest(Path::new(&output)).unwrap();
        assert_eq!(&manifest.parts["root"].sha256, root, "{transport}");
    }
}

/// A layout of layers written by hand, with a tag that umoci knows.
fn by_hand(folder: &Path, layers: Vec<Layer>) -> Layout {
    let layout = Layout::new(folder);
    let layers: Vec<Vec<u8>> = layers.into_iter().map(Layer::finish).collect();
    let mut descriptor = layout.blob_json(MANIFEST, &layout.manifest(&layers));
    descriptor["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": "v1"});
    layout.index(&[descriptor]);
    layout
}

fn root() -> Layer {
    Layer::new().directory("./")
}

fn changes() -> Vec<(&'static str, Vec<Layer>)> {
    let base = || {
        root()
            .directory("a")
            .directory("a/b")
            .file("a/b/c", b"1")
            .file("a/d", b"2")
            .symlink("l", "a")
            .file("e", b"3")
    };
    vec![
        ("whiteouts", vec![base(), root().file(".wh.e", b"").directory("a").file("a/.wh.b", b"")]),
        ("a whiteout of what is not there", vec![base(), root().file(".wh.none", b"").file("new", b"4")]),
        (
            "opaque directories",
            vec![base(), root().directory("a").file("a/.wh..wh..opq", b"").file("a/new", b"4")],
        ),
        (
            "a directory that is removed and made again",
            vec![base(), root().directory("a").file("a/.wh.b", b"").directory("a/x").file("a/x/c", b"5")],
        ),
        (
            "a file becomes a directory and a directory a file",
            vec![base(), root().directory("e").file("e/f", b"6").directory("a").file("a/b", b"7")],
        ),
        (
            "hard links across layers",
            vec![
                base().entry(EntryType::Link, "h", "e", b""),
                root().entry(EntryType::Link, "i", "e", b"").entry(EntryType::Link, "j", "h", b""),
            ],
        ),
    ]
}

fn kinds() -> Vec<(&'static str, Vec<Layer>)> {
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(255));
    vec![
        (
            "attributes and capabilities",
            vec![
                root()
                    .pax(&[
                        ("SCHILY.xattr.security.capability", capability),
                        ("SCHILY.xattr.user.note", b"n"),
                    ])
                    .file("capable", b"8"),
                root().pax(&[("SCHILY.xattr.user.other", b"o")]).file("other", b"9"),
            ],
        ),
        (
            "devices, pipes and a link to the host",
            vec![
                root()
                    .entry(EntryType::Char, "char", "", b"")
                    .entry(EntryType::Block, "block", "", b"")
                    .entry(EntryType::Fifo, "pipe", "", b"")
                    .symlink("passwd", "/etc/passwd"),
            ],
        ),
        (
            "long names",
            vec![
                root()
                    .pax(&[("path", long.split_once('/').unwrap().0.as_bytes())])
                    .directory("short")
                    .pax(&[("path", long.as_bytes())])
                    .file("short", b"10"),
            ],
        ),
        (
            "sparse files",
            vec![
                root()
                    .pax(&[
                        ("GNU.sparse.major", b"0"),
                        ("GNU.sparse.minor", b"1"),
                        ("GNU.sparse.name", b"sparse"),
                        ("GNU.sparse.numblocks", b"2"),
                        ("GNU.sparse.map", b"0,1,9000000,2"),
                        ("GNU.sparse.size", b"10000000"),
                    ])
                    .file("sparse", b"xyz"),
            ],
        ),
    ]
}

/// Compares what umoci unpacks with the root in either file system; of many files with their contents in EROFS alone,
/// since to read them one by one from a squashfs takes minutes.
fn same_as_umoci(name: &str, layers: Vec<Layer>, many: bool) {
    println!("{name}");
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let layout = by_hand(folder.path(), layers);
    let bundle = folder.path().join("bundle");
    run("umoci", &["unpack", "--image", &format!("{}:v1", layout.0.display()), &bundle.to_string_lossy()]);
    let mounted = Mounted::new(&build(folder.path(), &layout.source()));
    tree::assert_same(mounted.path(), &bundle.join("rootfs"));
    let mounted = Mounted::squashfs(&build_as(folder.path(), &layout.source(), "squashfs"));
    if !many {
        return tree::assert_same(mounted.path(), &bundle.join("rootfs"));
    }
    let listed = |root: &Path| {
        let found = run("find", &[&root.to_string_lossy(), "-printf", "%P %y %m %U %G %T@ %n\n"]);
        // Directories have other sizes and numbers of links.
        let lines = found.lines().map(|line| match line.contains(" d ") {
            true => line.rsplit_once(' ').map_or(line, |(rest, _)| rest).to_owned(),
            false => line.to_owned(),
        });
        lines.collect::<BTreeSet<_>>()
    };
    assert!(listed(mounted.path()) == listed(&bundle.join("rootfs")));
}

#[test]
fn layers_written_by_hand_are_what_umoci_unpacks() {
    for (name, layers) in changes().into_iter().chain(kinds()) {
        same_as_umoci(name, layers, false);
    }
}

#[test]
fn a_hundred_thousand_small_files_are_what_umoci_unpacks() {
    let folders = (0..100).fold(root(), |layer, index| layer.directory(&format!("m{index}")));
    let files = (0..100_000_usize).fold(folders, |layer, index| {
        layer.file(&format!("m{}/f{index}", index % 100), &index.to_le_bytes()[..index % 8])
    });
    same_as_umoci("small files", vec![files, root().directory("m7").file("m7/.wh.f107", b"")], true);
}

/// What others make, from files in a folder, of what is hard: eleven images by buildah and umoci.
#[test]
fn images_of_buildah_and_umoci_are_what_umoci_unpacks() {
    let made = run(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/images/make"), &["trees"]);
    let layout = format!("{}/trees", made.trim());
    let tags = run("umoci", &["ls", "--layout", &layout]);
    assert_eq!(tags.lines().count(), 11, "{tags}");
    for tag in tags.lines() {
        println!("{tag}");
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let bundle = folder.path().join("bundle");
        let image = format!("{layout}:{tag}");
        run("umoci", &["unpack", "--image", &image, &bundle.to_string_lossy()]);
        let mounted = Mounted::new(&build(folder.path(), &format!("oci:{image}")));
        tree::assert_same(mounted.path(), &bundle.join("rootfs"));
    }
}

/// Its layers lack the blocks that mark an archive's end, and the padding of their last file.
#[test]
fn what_umoci_inserts_is_taken_as_umoci_unpacks_it() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let image = format!("{}:v1", path("layout"));
    fs::write(path("file"), [7; 700]).unwrap();
    run("umoci", &["init", "--layout", &path("layout")]);
    run("umoci", &["new", "--image", &image]);
    for name in ["/inserted", "/folder/inserted"] {
        run("umoci", &["insert", "--image", &image, &path("file"), name]);
    }
    run("umoci", &["unpack", "--image", &image, &path("expected")]);
    let mounted = Mounted::new(&build(folder.path(), &format!("oci:{image}")));
    let (ours, theirs) = (tree::seen(mounted.path()), tree::seen(&folder.path().join("expected/rootfs")));
    assert!(ours.keys().eq(theirs.keys()));
    // No entry tells of the folders: umoci gives them the time of its unpacking.
    for file in ["inserted", "folder/inserted"].map(Path::new) {
        assert_eq!((ours[file].size, &ours[file]), (700, &theirs[file]));
    }
}
