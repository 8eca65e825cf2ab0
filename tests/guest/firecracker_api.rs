//! Firecracker's API: the same requests, the same answers.

use std::process::Command;
use std::time::Duration;

use bulkhead_tests::{asset, run};

#[test]
fn answers_are_firecracker_s_before_and_after_the_start() {
    let mut ask = Command::new(asset("firecracker-api/ask"));
    ask.args([asset("bulkhead-vmm"), asset("vmlinux"), asset("initramfs")]);
    let ours = run(&mut ask, Duration::from_secs(200)).ok().stdout;
    let theirs = std::fs::read_to_string(asset("firecracker-api/answers")).expect("the recorded answers");
    let theirs: Vec<&str> = theirs.lines().filter(|line| !line.starts_with('#')).collect();
    let ours: Vec<&str> = ours.lines().collect();
    // A request and its answer are two lines each.
    let pairs = ours.chunks(2).zip(theirs.chunks(2));
    let differ: Vec<_> = pairs.filter(|(ours, theirs)| ours != theirs).collect();
    assert!(differ.is_empty(), "ours and Firecracker's: {differ:#?}");
    assert_eq!(ours.len(), theirs.len());
}
