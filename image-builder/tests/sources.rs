//! Sources that are no files: standard input, and roots that are made here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use bulkhead_image::{BuildOptions, Source};
use support::layout::{Layer, Layout};
use support::{Mounted, build, refusal, run};

/// Builds from standard input, through a pipe.
fn build_piped(input: &Path, source: &str, output: &Path) -> Output {
    let mut cat = Command::new("cat").arg(input).stdout(Stdio::piped()).spawn().unwrap();
    let built = Command::new(env!("CARGO_BIN_EXE_bulkhead-image"))
        .args(["build", source, "--output", &output.to_string_lossy()])
        .stdin(cat.stdout.take().unwrap())
        .output()
        .unwrap();
    cat.wait().unwrap();
    built
}

fn root_of(image: &Path) -> String {
    bulkhead_image::read_manifest(image).unwrap().parts["root"].sha256.clone()
}

#[test]
fn archives_come_through_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let layer = Layer::new().directory("etc").file("etc/passwd", &[b'x'; 100_000]).finish();
    let layout = Layout::with_layers(folder.path(), std::slice::from_ref(&layer));
    let expected = root_of(&build(folder.path(), &layout.source()));
    layout.archive(&path("oci.tar"));
    fs::write(path("root.tar"), &layer).unwrap();
    for (program, name) in [("gzip", "root.tar.gz"), ("zstd", "root.tar.zst"), ("xz", "root.tar.xz")] {
        run(program, &["-kq", &path("root.tar").to_string_lossy()]);
        assert!(path(name).exists());
    }
    let reference = format!("docker-archive:{}:example.org/name:v1", path("docker.tar").display());
    run("skopeo", &["--insecure-policy", "copy", "-q", &layout.source(), &reference]);
    for (file, source) in [
        ("root.tar", "-"),
        ("root.tar", "tar:-"),
        ("root.tar.gz", "tar:-"),
        ("root.tar.zst", "-"),
        ("root.tar.xz", "-"),
        ("oci.tar", "oci-archive:-"),
        ("docker.tar", "docker-archive:-:example.org/name:v1"),
    ] {
        let output = path("out");
        let built = build_piped(&path(file), source, &output);
        assert!(built.status.success(), "{file}: {}", String::from_utf8_lossy(&built.stderr));
        assert_eq!(root_of(&output), expected, "{file} as {source}");
        fs::remove_file(output).unwrap();
    }
}

#[test]
fn what_ends_early_on_standard_input_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input");
    let bytes = Layer::new().file("a", &[1; 2000]).finish();
    fs::create_dir(folder.path().join("output")).unwrap();
    let output = folder.path().join("output/image");
    for length in [0, 1, 512, 1024, 2560] {
        fs::write(&input, &bytes[..length]).unwrap();
        for source in ["-", "oci-archive:-", "docker-archive:-"] {
            let built = build_piped(&input, source, &output);
            assert_eq!(built.status.code(), Some(1), "{length} bytes as {source}");
            assert_eq!(String::from_utf8_lossy(&built.stderr).lines().count(), 1);
            assert!(fs::read_dir(folder.path().join("output")).unwrap().next().is_none());
        }
    }
}

#[test]
fn busybox_is_a_root_of_its_own() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let image = build(one.path(), "busybox");
    let copy = two.path().join("busybox-copy");
    fs::copy("/bin/busybox", &copy).unwrap();
    let again = build(two.path(), &format!("root:busybox:{}", copy.display()));
    assert!(
        fs::read(&image).unwrap() == fs::read(&again).unwrap(),
        "the bytes depend on more than the program"
    );
    let manifest = bulkhead_image::read_manifest(&image).unwrap();
    assert_eq!((manifest.name.as_str(), manifest.config.cmd), ("busybox", vec!["sh".to_owned()]));

    let mounted = Mounted::new(&image);
    let path = |name: &str| mounted.path().join(name);
    let listed = run("/bin/busybox", &["--list"]);
    for applet in listed.lines().filter(|applet| *applet != "busybox") {
        assert_eq!(fs::read_link(path("bin").join(applet)).unwrap(), PathBuf::from("busybox"), "{applet}");
    }
    assert_eq!(fs::read(path("bin/busybox")).unwrap(), fs::read("/bin/busybox").unwrap());
    for (name, mode) in
        [("tmp", 0o41777), ("root", 0o40700), ("dev", 0o40755), ("proc", 0o40555), ("sys", 0o40555)]
    {
        let seen = fs::metadata(path(name)).unwrap();
        assert_eq!((seen.mode(), seen.uid(), seen.mtime()), (mode, 0, 0), "{name}");
    }
    // Programs run there, by links and through other folders' names.
    let root = mounted.path().to_string_lossy().into_owned();
    assert_eq!(run("chroot", &[&root, "/usr/bin/id", "-un"]), "root\n");
    assert_eq!(run("chroot", &[&root, "/sbin/echo", "a"]), "a\n");
}

#[test]
fn programs_that_cannot_be_a_root_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    fs::write(&script, "#!/bin/sh\n").unwrap();
    fs::create_dir(folder.path().join("output")).unwrap();
    let output = folder.path().join("output/image").to_string_lossy().into_owned();
    for (program, expected) in [
        (script.to_str().unwrap(), "it is no 64-bit ELF program"),
        ("/bin/true", "it is not static"),
        ("/nonexistent", "No such file"),
        ("/dev/zero", "It is not a regular file"),
    ] {
        let text = refusal(&["build", &format!("root:busybox:{program}"), "-o", &output], folder.path());
        assert!(text.contains(program) && text.contains(expected), "{text}");
    }
    for words in ["debian:--help", "debian:bookworm?include=--help", "root:arch"] {
        refusal(&["build", words, "-o", &output], folder.path());
    }
}

#[test]
fn debian_is_put_together_by_mmdebstrap() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let source: Source = "root:debian:bookworm?variant=essential".parse().unwrap();
    let options = BuildOptions { build_time: 1_700_000_000, ..BuildOptions::default() };
    bulkhead_image::build(&source, &one, &options).unwrap();
    let mounted = Mounted::new(&one);
    let system = fs::read_to_string(mounted.path().join("etc/os-release")).unwrap();
    assert!(system.contains("VERSION_CODENAME=bookworm"), "{system}");
    let status = fs::read_to_string(mounted.path().join("var/lib/dpkg/status")).unwrap();
    assert!(status.contains("Package: base-files\n"));
    assert_eq!(fs::metadata(mounted.path()).unwrap().uid(), 0);
    let made = fs::metadata(mounted.path().join("etc/passwd")).unwrap();
    assert!(made.mtime() <= 1_700_000_000, "a time that is not SOURCE_DATE_EPOCH's: {}", made.mtime());
    assert_eq!(bulkhead_image::read_manifest(&one).unwrap().name, "debian:bookworm");

    let unknown: Source =
        "root:debian:bookworm?variant=essential&include=no-such-package-at-all".parse().unwrap();
    let error = bulkhead_image::build(&unknown, &two, &options).unwrap_err().to_string();
    assert!(
        error.starts_with("mmdebstrap cannot make debian:bookworm?include=no-such-package-at-all"),
        "{error}"
    );
    assert!(error.contains("no-such-package-at-all") && !two.exists(), "{error}");
}
