//! The virtio console of a stock guest.

use bulkhead_tests::bare::{Bare, QUIET, boot};
use bulkhead_tests::{asset, root};
use serde_json::json;

/// Writes 200 lines at once, then says back what it is told.
const SCRIPT: &str = "exec < /dev/hvc0 > /dev/hvc0 2>&1; stty -echo
yes 'a line of sixty characters, as kernels and services print it' | head -n 200
echo ready; while read line && [ \"$line\" != end ]; do echo \"heard $line\"; done";

#[test]
fn a_guest_prints_without_an_exit_a_byte_and_hears_what_is_typed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let initramfs = root::with_lab_modules(folder.path(), &["virtio_mmio", "virtio_console"], SCRIPT);
    let metrics = folder.path().join("metrics");
    let sections = json!({"console": {}, "metrics": {"metrics_path": metrics}});
    let mut machine = Bare::start_with_input(&boot(&asset("vmlinux"), &initramfs, QUIET, sections));
    machine.await_console("ready\n");
    machine.enter("at once");
    machine.await_console("heard at once\n");
    machine.ask("PATCH", "/vm", &json!({"state": "Paused"}));
    machine.enter("paused");
    machine.ask("PATCH", "/vm", &json!({"state": "Resumed"}));
    machine.await_console("heard paused\n");
    let console = machine.counted(&metrics, "console");
    assert!(console["tx_bytes_count"].as_u64() >= Some(200 * 60), "{console}");
    assert_eq!(console["rx_bytes_count"], "at once\npaused\n".len());
    let bytes = machine.counted(&metrics, "uart")["write_count"].as_u64();
    assert!(bytes < Some(2000), "{bytes:?} bytes went by COM1");
    machine.enter("end");
    let (status, console) = machine.wait();
    assert_eq!((status, console.matches("a line of sixty").count()), (Some(0), 200), "{console}");
}
