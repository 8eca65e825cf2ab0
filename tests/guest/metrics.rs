//! Figures for Prometheus, of machines that did something.

use std::fs::{self, File};
use std::path::Path;

use bulkhead_tests::bare::{Bare, QUIET, boot};
use bulkhead_tests::{Daemon, asset, root, run, tap};
use serde_json::json;
use std::process::Command;
use std::time::Duration;

/// What `text` has at `name`, labels and all.
fn value(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// Asks a socket for `path`.
fn get(socket: &Path, path: &str) -> String {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail-with-body", "--include", "--unix-socket"]).arg(socket);
    let answer = run(curl.arg(format!("http://localhost{path}")), Duration::from_secs(20)).ok().stdout;
    let (head, text) = answer.split_once("\r\n\r\n").expect("an answer with a body");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    text.to_owned()
}

/// Where `tools/test` finds it, to have it read by `promtool`.
fn keep(name: &str, text: &str) {
    if Path::new("/out").is_dir() {
        fs::write(format!("/out/{name}.prom"), text).expect("a place for what comes back from the lab");
    }
}

#[test]
fn every_device_counts_and_counts_on() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tap = tap::Tap::new("tap-metrics");
    let file = |name: &str| {
        let path = folder.path().join(name);
        File::create(&path).and_then(|file| file.set_len(4 << 20)).expect("a file");
        path
    };
    let modules = [
        "virtio_mmio",
        "virtio_blk",
        "virtio_net",
        "virtio_rng",
        "virtio_balloon",
        "vmw_vsock_virtio_transport",
        "virtio_console",
        "virtio_pmem",
        "nd_pmem",
    ];
    let script = format!(
        "{}
dd if=/dev/vda of=/dev/null bs=4k count=16 2>/dev/null; ping -c 3 {} >/dev/null; echo USED
dd if=/dev/zero of=/dev/pmem0 bs=4k count=1 conv=fsync 2>/dev/null
while :; do dd if=/dev/vda of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null; sleep 1; done",
        tap::UP,
        tap::HOST
    );
    let initramfs = root::with_lab_modules(folder.path(), &modules, &script);
    let sections = json!({
        "drives": [{"drive_id": "disk", "path_on_host": file("disk"), "is_root_device": false}],
        "network-interfaces": [{"iface_id": "eth0", "host_dev_name": tap.name()}],
        "pmem": [{"id": "memory", "path_on_host": file("memory")}],
        "vsock": {"guest_cid": 3, "uds_path": "v.sock"},
        "balloon": {"amount_mib": 0, "deflate_on_oom": false, "stats_polling_interval_s": 1},
        "entropy": {},
        "console": {},
        "metrics": {"metrics_path": folder.path().join("metrics")},
    });
    let mut machine = Bare::start(&boot(&asset("vmlinux"), &initramfs, QUIET, sections));
    machine.await_console("USED");
    let first = get(&machine.path("api.sock"), "/metrics/prometheus");
    for name in [
        "bulkhead_vmm_block_read_bytes_total{drive=\"disk\"}",
        "bulkhead_vmm_net_tx_packets_total{interface=\"eth0\"}",
        "bulkhead_vmm_net_rx_bytes_total{interface=\"eth0\"}",
        "bulkhead_vmm_entropy_entropy_bytes_total",
        "bulkhead_vmm_balloon_stats_updates_total",
        "bulkhead_vmm_vcpu_exit_mmio_write_total",
        "bulkhead_vmm_uart_write_total",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "bulkhead_vmm_machine_start_time_seconds",
        "bulkhead_vmm_machine_state{state=\"running\"}",
    ] {
        assert!(value(&first, name) > 0.0, "{name}: {first}");
    }
    assert!(first.contains("bulkhead_vmm_vsock_conns_added_total 0\n"), "{first}");
    assert!(first.contains("# TYPE bulkhead_vmm_pmem_flush_total counter\n"), "{first}");
    keep("vmm", &first);

    // The lines of JSON tell what is new since the last one; these are totals nevertheless.
    machine.ask("PUT", "/actions", &json!({"action_type": "FlushMetrics"}));
    let reads = "bulkhead_vmm_block_read_total{drive=\"disk\"}";
    let before = value(&first, reads);
    std::thread::sleep(Duration::from_secs(3));
    let second = get(&machine.path("api.sock"), "/metrics/prometheus");
    assert!(value(&second, reads) > before, "{second}");
    let counters: Vec<&str> = first.lines().filter(|line| line.contains("_total")).collect();
    for line in counters.iter().filter(|line| !line.starts_with('#')) {
        let (name, told) = line.rsplit_once(' ').expect("a value");
        assert!(value(&second, name) >= told.parse().expect("a number"), "{line}: {second}");
    }
}

#[test]
fn the_daemon_tells_of_all_machines() {
    let daemon = Daemon::start();
    let image = asset("busybox.img");
    for name in ["one", "two"] {
        let _ = daemon.bulkhead(&["run", "-d", "--name", name, &image, "sleep", "1000"]).ok();
    }
    let _ = daemon.bulkhead(&["stop", "-t", "0", "two"]).ok();
    let text = get(&daemon.path("bulkhead.sock"), "/metrics");
    assert!(text.contains("bulkhead_machines{phase=\"running\"} 1\n"), "{text}");
    assert!(text.contains("bulkhead_machines{phase=\"stopped\"} 1\n"), "{text}");
    let id = daemon.inspect("one")["metadata"]["id"].as_str().expect("an id").to_owned();
    let machine = format!("machine=\"{id}\",name=\"one\"");
    assert!(value(&text, &format!("bulkhead_machine_up{{{machine}}}")) > 0.0);
    assert!(value(&text, &format!("bulkhead_vmm_block_read_bytes_total{{{machine},drive=\"root\"}}")) > 0.0);
    assert!(value(&text, &format!("bulkhead_vmm_process_resident_memory_bytes{{{machine}}}")) > 0.0);
    assert!(!text.contains("name=\"two\""), "{text}");
    let printed = daemon.bulkhead(&["metrics"]).ok().stdout;
    assert!(printed.contains("bulkhead_machines{phase=\"running\"} 1\n"), "{printed}");
    keep("daemon", &text);
}
