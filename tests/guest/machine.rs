//! The bare VMM, started from a configuration file.

use bulkhead_protocol::exit::ExitRecord;
use bulkhead_tests::vmm::{BOOT_ARGS, boot, config};
use bulkhead_tests::{asset, run};
use serde_json::json;
use std::process::Command;
use std::time::Duration;

#[test]
fn a_kernel_without_a_root_panics_and_the_record_says_so() {
    let mut config = config();
    config["boot-source"] = json!({ "kernel_image_path": asset("vmlinux"), "boot_args": BOOT_ARGS });
    let ended = boot(&config);
    assert_eq!(ended.process.status, 0, "{}", ended.process.stderr);
    let Some(ExitRecord::Panic { cause, console }) = &ended.record else { panic!("{:?}", ended.record) };
    assert!(console.contains("Unable to mount root fs"), "{console}");
    assert!(cause.starts_with("it found no root file system"), "{cause}");
}

#[test]
fn help_and_version_are_there() {
    for flag in ["--help", "--version"] {
        let answer = run(Command::new(asset("bulkhead-vmm")).arg(flag), Duration::from_secs(10)).ok();
        assert!(!answer.stdout.is_empty());
    }
}
