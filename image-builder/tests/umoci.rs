//! The tree of a root equals the tree that umoci unpacks from the same image; what skopeo makes of the image
//! gives the same root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use support::{Mounted, build, bulkhead_image, run, tree};

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
