//! PyPI's `firecracker-python`, a client of Firecracker that we did not write, drives our VMM under Firecracker's
//! name.

use std::process::Command;
use std::time::Duration;

use bulkhead_tests::{asset, run};

#[test]
fn machines_are_created_held_and_deleted() {
    let program = "/usr/local/bin/firecracker";
    std::os::unix::fs::symlink(asset("bulkhead-vmm"), program).expect("a link");
    let mut script = Command::new("python3");
    script.arg(asset("clients/firecracker-python")).env("PYTHONPATH", asset("python"));
    script.args([asset("vmlinux"), asset("initramfs")]);
    let done = run(&mut script, Duration::from_secs(120));
    std::fs::remove_file(program).expect("the link");
    assert_eq!(done.ok().text().lines().last(), Some("done"));
}
