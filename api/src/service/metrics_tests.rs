use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;

const THEIRS: &str = "# HELP bulkhead_vmm_block_read_total Reads.
# TYPE bulkhead_vmm_block_read_total counter
bulkhead_vmm_block_read_total{drive=\"a\"} 3
bulkhead_vmm_block_read_total{drive=\"b\"} 4
# HELP process_cpu_seconds_total Time.
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 1.500000
";

fn exposed(texts: &[&str]) -> String {
    let mut exposition = Exposition::default();
    exposition.count(&[]);
    for (number, text) in texts.iter().enumerate() {
        exposition.take_over(text, &format!("machine=\"{number}\",name=\"m-{number}\""), !text.is_empty());
    }
    exposition.render()
}

#[test]
fn figures_of_several_machines_stand_together() {
    let text = exposed(&[THEIRS, THEIRS, ""]);
    for line in [
        "bulkhead_machines{phase=\"running\"} 0",
        "bulkhead_machine_up{machine=\"0\",name=\"m-0\"} 1",
        "bulkhead_machine_up{machine=\"2\",name=\"m-2\"} 0",
        "bulkhead_vmm_block_read_total{machine=\"1\",name=\"m-1\",drive=\"b\"} 4",
        "bulkhead_vmm_process_cpu_seconds_total{machine=\"1\",name=\"m-1\"} 1.500000",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
    assert_eq!(text.matches("# TYPE bulkhead_vmm_block_read_total counter\n").count(), 1);
}

#[test]
fn what_a_vmm_makes_up_is_left_out() {
    let honest = exposed(&[THEIRS]);
    for line in [
        "bulkhead_machines{phase=\"running\"} 7",
        "# HELP bulkhead_machines lies",
        "# TYPE bulkhead_vmm_other histogram",
        "bulkhead_vmm_other 7",
        "bulkhead_vmm_block_read_total{machine=\"other\"} 7",
        "bulkhead_vmm_block_read_total{drive=\"a\"} 7} 7",
        "bulkhead_vmm_block_read_total{drive=\"a\",} 7",
        "bulkhead_vmm_block_read_total{drive=\"a\"x} 7",
        "bulkhead_vmm_block_read_total{drive=\"a\\\"} 7",
        "bulkhead_vmm_block_read_total{} 7",
        "bulkhead_vmm_block_read_total{drive=\"z\"} NaN",
        "bulkhead_vmm_block_read_total{drive=\"z\"} -7",
        "bulkhead_vmm_block_read_total{drive=\"\u{1b}[2J\"} 7",
        "bulkhead_vmm_block_read_total",
        "{",
        "",
    ] {
        assert_eq!(exposed(&[&format!("{THEIRS}{line}\n")]), honest, "{line}");
    }
}

#[test]
fn promtool_accepts_it_without_a_word() {
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = promtool.expect("promtool: tools/requirements installs it");
    child.stdin.take().unwrap().write_all(exposed(&[THEIRS, THEIRS, ""]).as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && done.stdout.is_empty() && said.is_empty(), "{said}");
}
