//! Images whose root is a squashfs: made by `bulkhead-image build --format squashfs` where the suites are built.

use std::fs;
use std::path::Path;
use std::process::Command;

use bulkhead_protocol::exit::ExitRecord;
use bulkhead_tests::vmm::boot;
use bulkhead_tests::{Daemon, asset};
use serde_json::json;

use crate::sources::unpacked_by_umoci;

/// A folder that a daemon takes Debian's kernel from, where a smaller one without the module is installed too.
fn assets(folder: &Path, initramfs: &[u8]) {
    for name in ["bulkhead-vmm", "vmlinux"] {
        std::os::unix::fs::symlink(asset(name), folder.join(name)).expect("a link");
    }
    fs::write(folder.join("initramfs"), initramfs).expect("an initramfs");
}

#[test]
fn a_compressed_root_is_the_tree_that_umoci_unpacks() {
    let expected = unpacked_by_umoci();
    let folder = tempfile::tempdir().expect("a folder");
    assets(folder.path(), &fs::read(asset("initramfs")).expect("the initramfs"));
    let daemon = Daemon::with_assets(folder.path());
    let found = daemon.bulkhead(&["run", "--rm", &format!("{}/kinds.img", asset("sources")), "sh", "/list"]);
    assert_eq!((found.status, found.stderr.as_str()), (0, ""));
    let differs = expected.lines().zip(found.text().lines()).find(|(one, other)| one != other);
    assert_eq!(differs, None);
    assert_eq!(found.text().lines().count(), expected.lines().count());
}

#[test]
fn a_kernel_without_squashfs_is_told_of() {
    let folder = tempfile::tempdir().expect("a folder");
    // The kernel reads one archive behind the other, and the later file of a name stays.
    let mut initramfs = fs::read(asset("initramfs")).expect("the initramfs");
    fs::create_dir_all(folder.path().join("empty/bulkhead")).expect("a folder");
    fs::write(folder.path().join("empty/bulkhead/modules.later"), "").expect("a file");
    let mut cpio = Command::new("sh");
    cpio.args(["-c", "echo bulkhead/modules.later | cpio --quiet -o -H newc"]);
    let archive = cpio.current_dir(folder.path().join("empty")).output().expect("cpio").stdout;
    assert!(!archive.is_empty());
    initramfs.extend(archive);
    assets(folder.path(), &initramfs);
    let daemon = Daemon::with_assets(folder.path());
    let run = daemon.bulkhead(&["run", "--rm", &format!("{}/kinds.img", asset("sources")), "sh", "/list"]);
    assert_eq!(run.status, 125, "{}", run.stderr);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    assert!(run.stderr.contains("This kernel has no squashfs, which serial:root needs"), "{}", run.stderr);
    assert_eq!(daemon.bulkhead(&["ps", "-a", "--quiet"]).ok().text(), "");
}

#[test]
fn a_compressed_appliance_boots_from_its_disk_alone() {
    let disk = format!("{}/hello-squashfs.img", asset("sources"));
    let folder = tempfile::tempdir().expect("a folder");
    let ended = boot(&json!({
        "boot-source": { "appliance": disk },
        "drives": [{ "drive_id": "appliance", "path_on_host": disk, "is_root_device": false, "is_read_only": true }],
        "machine-config": { "vcpu_count": 1, "mem_size_mib": 128 },
        "vsock": { "guest_cid": 3, "uds_path": folder.path().join("vsock") },
    }));
    assert!(ended.process.stdout.contains("hello from the appliance"), "{:?}", ended.process);
    assert_eq!(ended.record, Some(ExitRecord::GuestExit { code: 7 }));
}
