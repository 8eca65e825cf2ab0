//! Machines that stand still.

use std::time::Duration;

use serde_json::{Value, json};

use crate::code::Code;
use crate::run::{Running, start};

const STILL: Duration = Duration::from_millis(300);

/// A guest that writes for ever, on the first of two vCPUs.
fn busy() -> Running {
    let machine = json!({"machine-config": {"vcpu_count": 2, "mem_size_mib": 16}, "entropy": {}});
    let running = start(&Code::default().flood(b'x').pvh(), machine);
    running.await_console("xxxx");
    running
}

fn ask(running: &Running, state: &str) {
    let (status, body) = running.api("PATCH", "/vm", json!({"state": state}));
    assert_eq!(status, 204, "{body}");
}

fn state(running: &Running) -> Value {
    running.api("GET", "/", Value::Null).1["state"].clone()
}

#[test]
fn a_paused_machine_costs_no_processor_time_and_goes_on_where_it_was() {
    let running = busy();
    assert_eq!(state(&running), "Running");
    for _ in 0..3 {
        ask(&running, "Paused");
        ask(&running, "Paused");
        assert_eq!(state(&running), "Paused");
        let (before, written) = (running.ticks(), running.console().len());
        std::thread::sleep(STILL);
        assert_eq!((running.ticks(), running.console().len()), (before, written));
        let (status, body) = running.api("PUT", "/actions", json!({"action_type": "InstanceStart"}));
        assert_eq!(status, 400, "{body}");
        assert!(body["fault_message"].as_str().unwrap().contains("after starting"), "{body}");
        ask(&running, "Resumed");
        ask(&running, "Resumed");
        assert_eq!(state(&running), "Running");
        std::thread::sleep(STILL);
        assert!(running.ticks() > before, "it runs again");
    }
    running.signal("TERM");
    assert_eq!(running.wait().status, Some(143));
}

#[test]
fn a_paused_machine_can_be_ended() {
    let running = busy();
    ask(&running, "Paused");
    running.signal("TERM");
    assert_eq!(running.wait().status, Some(143));
}
