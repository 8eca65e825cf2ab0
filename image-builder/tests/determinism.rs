//! The same input gives the same bytes, and the bytes are what the protocol says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::fs;
use std::path::Path;

use bulkhead_image::{ApplianceOptions, BuildOptions, RuntimeOptions, Source};
use bulkhead_protocol::boot::Autostart;
use bulkhead_protocol::image::ImageKind;
use support::layout::{Layer, Layout};
use support::{Mounted, build, bulkhead_image as image_command, run};

fn layers() -> Vec<Vec<u8>> {
    let first =
        Layer::new().directory("bin").file("bin/sh", &[1; 10_000]).file("etc/os-release", b"ID=test\n");
    let second = Layer::new().file("bin/ls", &[2; 5000]).file(".wh.etc", b"");
    vec![first.finish(), second.finish()]
}

#[test]
fn two_builds_give_equal_bytes_whatever_the_form() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let layout = Layout::with_layers(one.path(), &layers());
    let first = fs::read(build(one.path(), &layout.source())).unwrap();
    assert_eq!(first.len() % 4096, 0);
    let layout = Layout::with_layers(two.path(), &layers());
    assert!(fs::read(build(two.path(), &layout.source())).unwrap() == first);
    let manifest = bulkhead_image::read_manifest(&two.path().join("image")).unwrap();
    let archive = two.path().join("archive.tar");
    layout.archive(&archive);
    let image = build(two.path(), &format!("oci-archive:{}", archive.display()));
    assert_eq!(bulkhead_image::read_manifest(&image).unwrap().parts, manifest.parts);
    run("gzip", &[&archive.to_string_lossy()]);
    let image = build(two.path(), &format!("oci-archive:{}.gz", archive.display()));
    assert_eq!(bulkhead_image::read_manifest(&image).unwrap().parts, manifest.parts);
}

#[test]
fn a_manifest_that_was_told_is_built_whatever_its_tag_means_since() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::with_layers(folder.path(), &layers());
    let source: Source = layout.source().parse().unwrap();
    let manifest = bulkhead_image::manifest_digest(&source, &BuildOptions::default()).unwrap().unwrap();
    let name = Some("shared".to_owned());
    let options = BuildOptions { manifest: Some(manifest.clone()), name, ..BuildOptions::default() };
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    assert_eq!(bulkhead_image::build(&source, &one, &options).unwrap().name, "shared");
    Layout::with_layers(folder.path(), &layers()[1..]);
    let since = bulkhead_image::manifest_digest(&source, &BuildOptions::default()).unwrap();
    assert!(since.is_some_and(|digits| digits != manifest));
    bulkhead_image::build(&source, &two, &options).unwrap();
    assert!(fs::read(&one).unwrap() == fs::read(&two).unwrap());
    let tar = Source::Tar(folder.path().join("x"));
    assert_eq!(bulkhead_image::manifest_digest(&tar, &BuildOptions::default()).unwrap(), None);
}

fn appliance(folder: &Path, command: &str) -> BuildOptions {
    let (kernel, initramfs) = (folder.join("vmlinux"), folder.join("initramfs"));
    fs::write(&kernel, [b"\x7fELF".as_slice(), &[9; 5000]].concat()).unwrap();
    let mut archive = bulkhead_image::cpio::Archive::new();
    archive.directory("/bulkhead");
    fs::write(&initramfs, archive.finish(512)).unwrap();
    let runtime = RuntimeOptions { command: Some(vec![command.to_owned()]), ..RuntimeOptions::default() };
    let appliance = ApplianceOptions { kernel, initramfs, runtime, ..ApplianceOptions::default() };
    BuildOptions { appliance: Some(appliance), ..BuildOptions::default() }
}

#[test]
fn an_appliance_is_a_disk_with_all_parts() {
    let folder = tempfile::tempdir().unwrap();
    let source: Source = Layout::with_layers(folder.path(), &layers()).source().parse().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let options = appliance(folder.path(), "run");
    let manifest = bulkhead_image::build(&source, &one, &options).unwrap();
    bulkhead_image::build(&source, &two, &options).unwrap();
    assert!(fs::read(&one).unwrap() == fs::read(&two).unwrap());
    assert_eq!(bulkhead_image::read_manifest(&one).unwrap(), manifest);
    bulkhead_image::verify(&one, &manifest).unwrap();
    assert_eq!(manifest.kind, ImageKind::Appliance);
    assert!(manifest.boot_args.unwrap().contains("console=ttyS0"));

    let seen = run("partx", &["--show", "--noheadings", "--output", "NAME,START", &one.to_string_lossy()]);
    let words: Vec<_> = seen.split_whitespace().collect();
    let start = |name| (manifest.parts[name].offset / 512).to_string();
    let (kernel, initramfs, root) = (start("kernel"), start("initramfs"), start("root"));
    let expected = ["manifest-a", "2048", "kernel-a", &kernel, "initramfs-a", &initramfs, "root-a", &root];
    assert_eq!(words, expected);

    let bytes = fs::read(&one).unwrap();
    let part = |name: &str| {
        let part = &manifest.parts[name];
        &bytes[usize::try_from(part.offset).unwrap()..][..usize::try_from(part.size).unwrap()]
    };
    let archive = String::from_utf8_lossy(part("initramfs")).into_owned();
    let json = archive.split_once("bulkhead/autostart.json").unwrap().1.trim_start_matches('\0');
    let json = &json[..json.find('\0').unwrap_or(json.len())];
    let json = json.split_once("070701").map_or(json, |(json, _)| json);
    let autostart: Autostart = serde_json::from_str(json).unwrap();
    assert_eq!(autostart.container.spec.process.args, ["/bin/sh", "run"]);
    assert_eq!(autostart.container.root.device.0, "partlabel:root-a");
    assert!(autostart.container.end_machine);

    let root = folder.path().join("root");
    fs::write(&root, part("root")).unwrap();
    assert_eq!(fs::read(Mounted::new(&root).path().join("bin/ls")).unwrap(), [2; 5000]);
}

#[test]
fn an_appliance_s_manifest_says_what_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    // Makes the kernel and the initramfs.
    let _ = appliance(folder.path(), "");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let layout = Layout::with_layers(folder.path(), &layers());
    for (source, more, entrypoint, cmd) in [
        (format!("dir:{}", path("root")), &[][..], &[][..], &["serve", "-v"][..]),
        (layout.source(), &[], &["/bin/sh"], &["serve", "-v"]),
        (layout.source(), &["--entrypoint", "/bin/ls"], &["/bin/ls"], &["serve", "-v"]),
    ] {
        let (output, kernel, initramfs) = (path("out"), path("vmlinux"), path("initramfs"));
        let mut words = vec!["build", &source, "--output", &output, "--appliance"];
        words.extend(["--kernel", &kernel, "--initramfs", &initramfs, "--env", "LEVEL=high"]);
        words.extend(more.iter().chain(&["--", "serve", "-v"]));
        let built = image_command(&words);
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let config = bulkhead_image::read_manifest(&folder.path().join("out")).unwrap().config;
        assert_eq!(
            (config.entrypoint.as_slice(), config.cmd.as_slice()),
            (&owned(entrypoint)[..], &owned(cmd)[..])
        );
        assert!(config.env.contains(&"LEVEL=high".to_owned()), "{:?}", config.env);
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn an_appliance_that_cannot_start_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let source: Source = Layout::with_layers(folder.path(), &layers()).source().parse().unwrap();
    let output = folder.path().join("out");
    let refused =
        |options: &BuildOptions| bulkhead_image::build(&source, &output, options).unwrap_err().to_string();
    let mut options = appliance(folder.path(), "run");
    let good = options.appliance.clone().unwrap();
    let mut change = |change: &dyn Fn(&mut ApplianceOptions)| {
        let mut appliance = good.clone();
        change(&mut appliance);
        options.appliance = Some(appliance);
        refused(&options)
    };
    let initramfs = good.initramfs.clone();
    assert!(
        change(&|appliance| appliance.kernel.clone_from(&initramfs))
            .contains("neither an ELF image nor a bzImage")
    );
    let kernel = good.kernel.clone();
    assert!(
        change(&|appliance| appliance.initramfs.clone_from(&kernel))
            .contains("not an uncompressed cpio archive")
    );
    assert!(change(&|appliance| appliance.kernel = "/nonexistent".into()).contains("/nonexistent"));
    assert!(change(&|appliance| appliance.kernel = "/dev".into()).contains("/dev"));
    assert!(change(&|appliance| appliance.boot_args = Some("a\nb".to_owned())).contains("command line"));
    assert!(
        change(&|appliance| appliance.runtime.env = vec!["x".to_owned()]).contains("runtime specification")
    );
    assert!(!output.exists());
}
