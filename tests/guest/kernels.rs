//! Debian's kernels, old and new, uncompressed and as their packages have them, with 1 to 32 processors. They are
//! carried into a lab of their own (`tools/test`): with 32 emulated processors a start takes half a minute.

use std::time::Instant;

use bulkhead_tests::asset;
use bulkhead_tests::bare::{Bare, QUIET, boot, initramfs};
use serde_json::json;

const SCRIPT: &str = "echo up $(uname -r) with $(nproc)\npoweroff -f";

/// Boots `kernel` with each number of processors.
fn boots(kernel: &str, release: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let initramfs = initramfs(folder.path(), SCRIPT);
    for vcpus in [1, 2, 4, 32] {
        let start = Instant::now();
        let machine = json!({"machine-config": {"vcpu_count": vcpus, "mem_size_mib": 192}});
        let config = boot(&asset(kernel), &initramfs, QUIET, machine);
        let (status, console) = Bare::start(&config).wait();
        let line = console.lines().find(|line| line.starts_with("up ")).unwrap_or_default();
        assert!(line.starts_with(&format!("up {release}")), "{kernel}, {vcpus}: {console}");
        assert!(line.ends_with(&format!(" with {vcpus}")), "{kernel}: {console}");
        assert_eq!(status, Some(0));
        eprintln!("{kernel} with {vcpus}: {:.1} s", start.elapsed().as_secs_f64());
    }
}

#[test]
fn linux_6_1_boots_from_an_elf_file() {
    boots("vmlinux-6.1", "6.1.");
}

#[test]
fn linux_6_1_boots_from_a_bzimage() {
    boots("bzImage-6.1", "6.1.");
}

#[test]
fn linux_6_12_boots_from_an_elf_file() {
    boots("vmlinux-6.12", "6.12.");
}

#[test]
fn linux_6_12_boots_from_a_bzimage() {
    boots("bzImage-6.12", "6.12.");
}

#[test]
fn linux_6_12_knows_its_generation() {
    let script =
        "ls /sys/bus/*/drivers/vmgenid /sys/bus/acpi/devices | tr '\\n' ' '; dmesg | grep -i vmgenid";
    let folder = tempfile::tempdir().expect("a temporary folder");
    let initramfs = initramfs(folder.path(), &format!("{script}\npoweroff -f"));
    let (_, console) = Bare::start(&boot(&asset("vmlinux-6.12"), &initramfs, QUIET, json!({}))).wait();
    assert!(console.contains("VMGENCTR:00"), "{console}");
    let driver = console.split("drivers/vmgenid:").nth(1).unwrap_or_default();
    assert!(driver.split_whitespace().take(5).any(|word| word.starts_with("VMGENCTR:")), "{console}");
    assert!(!console.contains("probe"), "{console}");
}
