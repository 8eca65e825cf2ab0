//! What a user sees of a machine: messages, figures, the console's file, the guest's boot time.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::code::Code;
use crate::run::{Ended, start_with};

/// Writes `value` to the boot timer's page: `mov byte [0xc0000000], value`. 32-bit code only.
fn boot_timer(value: u8) -> Code {
    Code::default().bytes(&[0xc6, 0x05, 0, 0, 0, 0xc0, value])
}

/// Runs `code` with more arguments, `@` in which stands for `folder`.
fn run_in(folder: &Path, code: &Code, sections: Value, arguments: &[&str]) -> Ended {
    let arguments: Vec<String> =
        arguments.iter().map(|word| word.replace('@', folder.to_str().unwrap())).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    start_with(&code.pvh(), sections, &arguments).wait()
}

#[test]
fn a_guest_says_that_it_has_booted() {
    for (value, said) in [(123, 1), (122, 0)] {
        let folder = tempfile::tempdir().unwrap();
        let arguments =
            ["--boot-timer", "--log-path", "@/log", "--metrics-path", "@/metrics", "--show-level"];
        let ended = run_in(folder.path(), &boot_timer(value).power_off(), json!({}), &arguments);
        assert_eq!((ended.status, ended.console.as_str()), (Some(0), ""), "{ended:?}");
        let log = fs::read_to_string(folder.path().join("log")).unwrap();
        assert_eq!(log.matches("Guest-boot-time = ").count(), said, "{log}");
        for sentence in
            [":INFO] Bulkhead VMM", "The machine runs", "the guest powered itself off", "status 0"]
        {
            assert!(log.contains(sentence), "{sentence}: {log}");
        }
        let metrics = fs::read_to_string(folder.path().join("metrics")).unwrap();
        let last: Value = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
        assert_eq!(last["machine"]["guest_boot_time_us"].as_u64() > Some(0), said == 1, "{last}");
        let exits = &last["vcpu"];
        assert!(
            exits["exit_mmio_write_agg"]["max_us"].as_u64()
                >= exits["exit_mmio_write_agg"]["min_us"].as_u64()
        );
    }
    let ended = run_in(Path::new("/"), &boot_timer(123).power_off(), json!({}), &["--boot-timer"]);
    assert!(ended.console.contains("Guest-boot-time = "), "{ended:?}");
}

#[test]
fn nothing_is_said_that_nobody_asked_for() {
    let ended = run_in(Path::new("/"), &Code::default().print("guest\n").power_off(), json!({}), &[]);
    assert_eq!((ended.console.as_str(), ended.errors.as_str()), ("guest\n", ""));
}

#[test]
fn the_console_goes_where_it_is_sent_as_fast_as_it_may() {
    let folder = tempfile::tempdir().unwrap();
    let console = folder.path().join("console");
    let limit = json!({"size": 4, "refill_time": 3_600_000});
    let cases = [(json!({}), "0123456789", 0), (json!({"rate_limiter": limit}), "0123", 6)];
    for (mut serial, expected, dropped) in cases {
        serial["serial_out_path"] = json!(console);
        let code = Code::default().print("0123456789").power_off();
        let metrics = folder.path().join("metrics");
        let sections = json!({
            "serial": serial,
            "metrics": {"metrics_path": metrics, "emit_id": true},
            "logger": {"log_path": folder.path().join("log"), "level": "Off"},
        });
        let ended = run_in(folder.path(), &code, sections, &["--id", "vm-7"]);
        assert_eq!((ended.status, ended.console.as_str()), (Some(0), ""), "{ended:?}");
        assert_eq!(fs::read_to_string(&console).unwrap(), expected);
        let figures: Vec<Value> = fs::read_to_string(&metrics)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(figures.len() >= 2, "one at the start, one at the end");
        let sum = |name: &str| figures.iter().map(|line| line["uart"][name].as_u64().unwrap()).sum::<u64>();
        assert_eq!((sum("write_count"), sum("rate_limiter_dropped_bytes")), (10, dropped));
        let last = figures.last().unwrap();
        assert_eq!(last["id"], "vm-7");
        assert!(last["machine"]["end_time_ms"].as_u64() >= last["machine"]["start_time_ms"].as_u64());
        assert_eq!(fs::read_to_string(folder.path().join("log")).unwrap(), "");
        fs::remove_file(&console).unwrap();
        fs::remove_file(&metrics).unwrap();
    }
}

#[test]
fn a_start_is_timed_from_what_the_starter_says() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--start-time-us", "1", "--start-time-cpu-us", "0", "--parent-cpu-time-us", "5000000"];
    let arguments = [arguments.as_slice(), &["--metrics-path", "@/metrics"]].concat();
    assert_eq!(run_in(folder.path(), &Code::default().power_off(), json!({}), &arguments).status, Some(0));
    let text = fs::read_to_string(folder.path().join("metrics")).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert!(last["api_server"]["process_startup_time_us"].as_u64() > Some(1000), "{last}");
    assert!(last["api_server"]["process_startup_time_cpu_us"].as_u64() > Some(5_000_000), "{last}");
}

#[test]
fn places_that_do_not_open_are_named() {
    let nowhere = "/nonexistent/x";
    let cases = [
        (json!({"serial": {"serial_out_path": nowhere}}), ["--id", "a"], 1),
        (json!({"logger": {"log_path": nowhere}}), ["--id", "a"], 152),
        (json!({"metrics": {"metrics_path": nowhere}}), ["--id", "a"], 152),
        (json!({}), ["--log-path", nowhere], 152),
        (json!({}), ["--metrics-path", nowhere], 152),
    ];
    for (sections, arguments, status) in cases {
        let ended = run_in(Path::new("/"), &Code::default().power_off(), sections, &arguments);
        assert_eq!(ended.status, Some(status), "{ended:?}");
        assert!(ended.errors.contains(nowhere) && ended.errors.lines().count() == 1, "{ended:?}");
    }
}
