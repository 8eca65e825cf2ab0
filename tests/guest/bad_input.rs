//! Bad input gets one sentence that names the thing, a status that is not 0, and leaves nothing behind.

use std::fs;
use std::process::Command;

use bulkhead_tests::vmm::{boot, config};
use bulkhead_tests::{Daemon, Footprint, asset};
use serde_json::{Value, json};

/// Boots a bad configuration and expects one sentence on standard error with `word` in it.
fn refused(config: &Value, word: &str) {
    let before = Footprint::take();
    let ended = boot(config);
    assert_ne!(ended.process.status, 0, "{config}");
    let sentences: Vec<&str> = ended.process.stderr.lines().collect();
    assert_eq!(sentences.len(), 1, "{}", ended.process.stderr);
    assert!(sentences[0].contains(word), "'{}' does not name '{word}'", sentences[0]);
    let left = Footprint::take().added_since(&before);
    assert!(left.is_empty(), "left over: {left:#?}");
}

#[test]
fn a_missing_kernel() {
    let mut config = config();
    config["boot-source"]["kernel_image_path"] = json!("/nonexistent/vmlinux");
    refused(&config, "/nonexistent/vmlinux");
}

#[test]
fn a_truncated_kernel() {
    let kernel = fs::read(asset("vmlinux")).expect("the kernel");
    for length in [0, 4, 63, 64, 1000, kernel.len() / 2] {
        let cut = tempfile::NamedTempFile::new().expect("a file");
        fs::write(cut.path(), &kernel[..length]).expect("a cut kernel");
        let mut config = config();
        config["boot-source"]["kernel_image_path"] = json!(cut.path());
        refused(&config, &cut.path().to_string_lossy());
    }
}

#[test]
fn a_drive_that_is_a_directory() {
    let mut config = config();
    config["drives"] = json!([{ "drive_id": "data", "path_on_host": "/etc", "is_root_device": false, "is_read_only": true }]);
    refused(&config, "/etc");
}

/// The configuration with interfaces named after their taps.
fn with_taps(taps: &[(&str, &str)]) -> Value {
    let mut config = config();
    let interface = |(id, tap): &(&str, &str)| json!({ "iface_id": id, "host_dev_name": tap });
    config["network-interfaces"] = taps.iter().map(interface).collect();
    config
}

#[test]
fn a_tap_that_two_interfaces_ask_for() {
    refused(&with_taps(&[("one", "bhtwice0"), ("two", "bhtwice0")]), "bhtwice0");
}

#[test]
fn a_tap_that_is_missing() {
    refused(&with_taps(&[("one", "bhmissing0")]), "bhmissing0");
}

#[test]
fn a_tap_that_is_taken() {
    let tap = "bhtaken0";
    let holder = format!("TUN,tun-type=tap,tun-name={tap},iff-no-pi");
    let mut holder = Command::new("socat").args([&holder, "PIPE"]).spawn().expect("socat");
    let there = format!("/sys/class/net/{tap}");
    while !std::path::Path::new(&there).exists() {
        assert_eq!(holder.try_wait().expect("socat"), None, "socat ended");
    }
    refused(&with_taps(&[("one", tap)]), tap);
    holder.kill().expect("kill");
    holder.wait().expect("wait");
}

#[test]
fn an_unknown_field() {
    let mut config = config();
    config["machine-config"]["vcpus"] = json!(2);
    refused(&config, "vcpus");
}

#[test]
fn an_entry_point_that_does_not_exist() {
    let before = Footprint::take();
    {
        let daemon = Daemon::start();
        let run = daemon.bulkhead(&["run", "--rm", &asset("busybox.img"), "/no/such/program"]);
        assert_eq!(run.status, 127, "{}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        assert!(run.stderr.contains("/no/such/program"), "{}", run.stderr);
    }
    let left = Footprint::take().added_since(&before);
    assert!(left.is_empty(), "left over: {left:#?}");
}

#[test]
fn an_image_cut_at_any_block() {
    let daemon = Daemon::start();
    let whole = fs::read(asset("busybox.img")).expect("the image");
    let blocks = whole.len() / 4096;
    for block in (0..blocks).step_by((blocks / 12).max(1)) {
        let cut = daemon.path("cut.img");
        fs::write(&cut, &whole[..block * 4096]).expect("a cut image");
        let path = cut.to_string_lossy();
        let run = daemon.bulkhead(&["run", "--rm", &path, "true"]);
        assert_eq!(run.status, 125, "cut at block {block}: {}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        assert!(run.stderr.contains("cut.img"), "{}", run.stderr);
    }
    assert_eq!(daemon.bulkhead(&["images", "--quiet"]).ok().text(), "");
}
