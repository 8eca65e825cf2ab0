//! An appliance: one disk that boots by itself, and through the daemon.

use bulkhead_protocol::exit::ExitRecord;
use bulkhead_tests::vmm::boot;
use bulkhead_tests::{Daemon, asset};
use serde_json::json;

#[test]
fn an_appliance_boots_from_its_disk_alone_and_ends_with_its_container_s_status() {
    let disk = asset("hello-appliance.img");
    let ended = boot(&json!({
        "boot-source": { "appliance": disk },
        "drives": [{ "drive_id": "appliance", "path_on_host": disk, "is_root_device": false, "is_read_only": true }],
        "machine-config": { "vcpu_count": 1, "mem_size_mib": 128 },
        "vsock": { "guest_cid": 3, "uds_path": "/tmp/bulkhead-appliance-test.vsock" },
    }));
    assert!(ended.process.stdout.contains("hello from the appliance"), "{:?}", ended.process);
    assert_eq!(ended.record, Some(ExitRecord::GuestExit { code: 7 }));
    assert_eq!(ended.process.status, 0);
}

#[test]
fn the_daemon_runs_an_appliance_with_another_command() {
    let daemon = Daemon::start();
    let image = asset("hello-appliance.img");
    let run = daemon.bulkhead(&["run", "--rm", &image, "-c", "echo other; exit 3"]);
    assert_eq!((run.status, run.text()), (3, "other"), "{}", run.stderr);
}
