//! An image runs from whatever form it comes in: `bulkhead run SOURCE`.

use bulkhead_tests::{Daemon, asset};
use std::process::Command;
use std::time::Duration;

/// Runs a source as it is, from the folder where it lies; it says hello and ends with 7.
fn says_hello(daemon: &Daemon, source: &str) {
    let mut command = daemon.command(&["run", "--rm", source]);
    let run = bulkhead_tests::run(command.current_dir(asset("sources")), Duration::from_secs(120));
    assert_eq!((run.status, run.text()), (7, "hello from the appliance"), "{source}: {}", run.stderr);
}

#[test]
fn a_layout_an_archive_and_what_docker_saves_run_as_they_are() {
    let daemon = Daemon::start();
    let folder = asset("sources");
    says_hello(&daemon, "oci:oci:latest");
    says_hello(&daemon, &format!("oci:{folder}/oci"));
    says_hello(&daemon, "oci-archive:oci.tar");
    says_hello(&daemon, &format!("oci-archive:{folder}/oci.tar:latest"));
    says_hello(&daemon, "docker-archive:docker.tar");
    says_hello(&daemon, &format!("docker-archive:{folder}/docker.tar:bulkhead/hello:1"));
}

#[test]
fn a_tar_of_a_root_runs_a_command() {
    let daemon = Daemon::start();
    let source = format!("tar:{}/root.tar", asset("sources"));
    let run = daemon.bulkhead(&["run", "--rm", &source, "sh", "-c", "stat -c %u:%g /bin/busybox; exit 3"]);
    assert_eq!((run.status, run.text()), (3, "0:0"), "{}", run.stderr);
    let run = daemon.bulkhead(&["run", "--rm", &source]);
    assert_eq!(run.status, 125, "{}", run.stderr);
    assert!(run.stderr.contains("names no command"), "{}", run.stderr);
}

#[test]
fn a_root_that_the_daemon_makes_runs() {
    let daemon = Daemon::start();
    let run =
        daemon.bulkhead(&["run", "--rm", "root:busybox", "sh", "-c", "id -un; stat -c %a /tmp; exit 4"]);
    assert_eq!((run.status, run.text()), (4, "root\n1777"), "{}", run.stderr);
}

#[test]
fn a_source_that_is_not_there_is_named() {
    let daemon = Daemon::start();
    let folder = asset("sources");
    for (source, word) in [
        (format!("oci:{folder}/oci:other"), "other"),
        (format!("oci-archive:{folder}/oci.tar:other"), "other"),
        (format!("docker-archive:{folder}/docker.tar:other/image"), "other/image"),
        (format!("docker-archive:{folder}/oci.tar"), "oci.tar"),
        (format!("oci:{folder}/none:latest"), "none"),
        (format!("tar:{folder}/none.tar"), "none.tar"),
        (format!("tar:{folder}/oci/index.json"), "index.json"),
    ] {
        let run = daemon.bulkhead(&["run", "--rm", &source]);
        assert_eq!(run.status, 125, "{source}: {}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        assert!(run.stderr.contains(word), "{source}: {}", run.stderr);
    }
    assert_eq!(daemon.bulkhead(&["images", "--quiet"]).ok().text(), "");
    assert_eq!(daemon.bulkhead(&["ps", "-a", "--quiet"]).ok().text(), "");
}

#[test]
fn a_disk_becomes_a_volume_by_its_digest() {
    let daemon = Daemon::start();
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    std::fs::create_dir(folder.path().join("content")).expect("a folder");
    std::fs::write(folder.path().join("content/word"), "from outside").expect("a file");
    let mut mke2fs = Command::new("mke2fs");
    mke2fs.args(["-q", "-t", "ext4", "-d", &path("content"), &path("disk"), "20M"]);
    assert_eq!(bulkhead_tests::run(&mut mke2fs, Duration::from_secs(60)).status, 0);
    let mut sha256sum = Command::new("sha256sum");
    let sum = bulkhead_tests::run(sha256sum.arg(path("disk")), Duration::from_secs(60));
    let digest = sum.text().split(' ').next().unwrap_or_default().to_owned();
    let import = |name: &str, digest: &str| {
        daemon.bulkhead(&["volume", "import", name, &path("disk"), "--format", "raw", "--sha256", digest])
    };
    let refused = import("data", &"0".repeat(64));
    assert!(refused.status != 0 && refused.stderr.contains(&digest), "{}", refused.stderr);
    assert_eq!(import("data", &digest).ok().text(), "data");
    assert!(import("data", &digest).stderr.contains("already"));
    let words = ["run", "--rm", "-v", "data:/data", "root:busybox", "cat", "/data/word"];
    let run = daemon.bulkhead(&words);
    assert_eq!((run.status, run.text()), (0, "from outside"), "{}", run.stderr);
}

/// What the image with every kind of entry lists by its own program, where umoci has unpacked its layers as root.
pub fn unpacked_by_umoci() -> String {
    let layout = format!("{}/kinds:latest", asset("sources"));
    let folder = tempfile::tempdir().expect("a folder");
    let bundle = folder.path().join("bundle");
    let run = |command: &mut Command| bulkhead_tests::run(command, Duration::from_secs(120));
    let unpacked = run(Command::new("umoci").args(["unpack", "--image", &layout]).arg(&bundle));
    assert_eq!(unpacked.status, 0, "{}", unpacked.stderr);
    let expected = run(Command::new("chroot").arg(bundle.join("rootfs")).args(["/bin/sh", "/list"]));
    assert_eq!((expected.status, expected.stderr.as_str()), (0, ""));
    assert!(expected.text().lines().count() > 4000, "{}", expected.text());
    expected.text().to_owned()
}

/// Compares what the image's own program lists in a guest with what it lists where umoci has unpacked the layers as
/// root.
#[test]
fn the_tree_in_the_guest_is_the_one_that_umoci_unpacks() {
    let expected = unpacked_by_umoci();
    let daemon = Daemon::start();
    let layout = format!("{}/kinds:latest", asset("sources"));
    let found = daemon.bulkhead(&["run", "--rm", &format!("oci:{layout}"), "sh", "/list"]);
    assert_eq!((found.status, found.stderr.as_str()), (0, ""));
    let differs = expected.lines().zip(found.text().lines()).find(|(one, other)| one != other);
    assert_eq!(differs, None);
    assert_eq!(found.text().lines().count(), expected.lines().count());
}
