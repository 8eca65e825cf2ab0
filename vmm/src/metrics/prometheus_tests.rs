use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;
use crate::metrics::{
    BalloonMetrics, BlockMetrics, ConsoleMetrics, EntropyMetrics, MmdsMetrics, NetMetrics, PmemMetrics,
    Registry, VsockMetrics,
};

/// Every group that there is, two devices of each kind of which there may be several.
fn everything() -> Registry {
    let registry = Registry::default();
    for id in ["a", "rootfs"] {
        let drive = registry.device_group::<BlockMetrics>("block", id);
        drive.read_count.add(3);
        drive.read_agg.record(Duration::from_micros(1_500_000));
        registry.device_group::<NetMetrics>("net", id).rx_bytes_count.add(7);
        registry.device_group::<PmemMetrics>("pmem", id);
    }
    registry.group::<EntropyMetrics>("entropy");
    registry.group::<BalloonMetrics>("balloon").free_page_report_freed.add(4096);
    registry.group::<ConsoleMetrics>("console");
    registry.group::<VsockMetrics>("vsock");
    registry.group::<MmdsMetrics>("mmds");
    registry.process().requests.tally("PUT", "drives").count(true);
    registry.process().latencies.pause_vm.set(1234);
    registry.process().machine.start_time_ms.set(1_700_000_000_123);
    registry
}

fn text(registry: &Registry) -> String {
    let mut exposition = Exposition::default();
    registry.expose(&mut exposition);
    exposition.render()
}

#[test]
fn figures_have_the_names_and_units_that_prometheus_wants() {
    let text = text(&everything());
    for line in [
        "# TYPE bulkhead_vmm_block_read_total counter",
        "# HELP bulkhead_vmm_block_read_total Reads that were served.",
        "bulkhead_vmm_block_read_total{drive=\"rootfs\"} 3",
        "bulkhead_vmm_block_read_seconds_total{drive=\"a\"} 1.500000",
        "bulkhead_vmm_block_read_max_seconds{drive=\"a\"} 1.500000",
        "bulkhead_vmm_net_rx_bytes_total{interface=\"a\"} 7",
        "bulkhead_vmm_balloon_free_page_report_freed_bytes_total 4096",
        "bulkhead_vmm_api_requests_total{method=\"put\",endpoint=\"drive\"} 1",
        "bulkhead_vmm_api_requests_refused_total{method=\"put\",endpoint=\"drive\"} 1",
        "bulkhead_vmm_api_requests_total{method=\"get\",endpoint=\"mmds\"} 0",
        "bulkhead_vmm_latency_pause_vm_seconds 0.001234",
        "bulkhead_vmm_machine_start_time_seconds 1700000000.123",
        "bulkhead_vmm_vcpu_exit_io_in_total 0",
        "bulkhead_vmm_process_panic 0",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
    let help = "# HELP bulkhead_vmm_net_tx_malformed_frames_total Frames of the guest that are none: too short, too \
                long, not in memory, or with a header that the host's kernel refuses.";
    assert!(text.contains(help), "{text}");
    assert!(!text.contains("microseconds") && !text.contains("milliseconds"), "{text}");
}

#[test]
fn every_metric_is_there_once_and_every_value_too() {
    let text = text(&everything());
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        let what = if line.starts_with('#') {
            line.split(' ').take(3).collect()
        } else {
            line.rsplit_once(' ').unwrap().0.to_owned()
        };
        assert!(seen.insert(what), "{line}");
    }
    // What JSON tells is told here, and nothing of it twice: the sums over devices are Prometheus's to make.
    let report = everything().report();
    let groups = report.iter().filter(|(name, _)| !["block", "net", "pmem"].contains(&name.as_str()));
    let figures = groups.flat_map(|(_, group)| group.as_object().unwrap().values());
    let count: usize = figures.map(|figure| figure.as_object().map_or(1, serde_json::Map::len)).sum();
    assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), count);
}

#[test]
fn totals_stay_totals_whoever_reads_the_lines_of_json() {
    let registry = everything();
    let before = text(&registry);
    registry.report();
    assert_eq!(text(&registry), before);
    registry.process().requests.tally("PUT", "drives").count(false);
    let line = "bulkhead_vmm_api_requests_total{method=\"put\",endpoint=\"drive\"} 2";
    assert!(text(&registry).lines().any(|other| other == line));
}

#[test]
fn labels_and_help_are_escaped() {
    let mut exposition = Exposition::default();
    exposition.add("x", "a\\b\nc", Kind::Gauge, &[("id", "q\"u\\o\nte"), ("more", "")], "1".into());
    assert_eq!(
        exposition.render(),
        "# HELP x a\\\\b\\nc\n# TYPE x gauge\nx{id=\"q\\\"u\\\\o\\nte\",more=\"\"} 1\n"
    );
}

#[test]
fn promtool_accepts_it_without_a_word() {
    let mut promtool = Command::new("promtool");
    let promtool = promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child =
        promtool.stderr(Stdio::piped()).spawn().expect("promtool: tools/requirements installs it");
    child.stdin.take().unwrap().write_all(text(&everything()).as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && done.stdout.is_empty() && said.is_empty(), "{said}");
}
