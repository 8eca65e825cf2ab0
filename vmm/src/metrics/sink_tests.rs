use std::fs;
use std::path::Path;
use std::time::Instant;

use super::*;
use crate::virtio::worker_loop::WorkerLoop;

fn section(path: &Path) -> Metrics {
    Metrics { metrics_path: path.to_owned(), emit_id: true, properties: BTreeMap::default() }
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_line_has_firecrackers_groups_and_ours() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics");
    let sink = Sink::new("vm-1", Registry::default());
    sink.flush().unwrap();
    let mut section = section(&path);
    section.properties.insert("rack".into(), "7".into());
    sink.open(&section).unwrap();
    sink.registry.process().requests.tally("PUT", "drives").count(true);
    sink.flush().unwrap();
    let error = sink.open(&section).unwrap_err();
    assert!(error.to_string().contains("already"), "{error}");

    let [line] = <[Value; 1]>::try_from(lines(&path)).unwrap();
    let groups = [
        "api_server",
        "deprecated_api",
        "get_api_requests",
        "i8042",
        "latencies_us",
        "logger",
        "patch_api_requests",
        "put_api_requests",
        "seccomp",
        "signals",
        "uart",
        "vcpu",
        "vmm",
        "machine",
    ];
    for group in groups {
        assert!(line[group].is_object(), "{group}: {line}");
    }
    assert_eq!((&line["id"], &line["properties"]["rack"]), (&json!("vm-1"), &json!("7")));
    assert!(line["utc_timestamp_ms"].as_u64() > Some(0));
    assert_eq!(line["put_api_requests"]["drive_count"], 1);
    assert_eq!(line["put_api_requests"]["drive_fails"], 1);
    assert_eq!(line["vcpu"]["exit_io_in_agg"]["sum_us"], 0);
}

#[test]
fn a_pipe_gets_whole_lines_and_what_it_misses_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let sink = Sink::new("vm-1", Registry::default());
    sink.open(&section(&path)).unwrap();
    let written = (0..200).filter(|_| sink.flush().is_ok()).count();
    let missed = sink.registry.process().logger.missed_metrics_count.total();
    assert!(missed > 0 && written as u64 + missed == 200, "{written} {missed}");
    // Whoever comes late reads whole lines, the one that was cut among them.
    let reader = {
        let path = path.clone();
        std::thread::spawn(move || {
            use std::io::{BufRead, BufReader};
            let lines = BufReader::new(fs::File::open(path).unwrap()).lines();
            lines.take(written + 1).map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
        })
    };
    let end = Instant::now() + Duration::from_secs(20);
    while sink.flush().is_err() {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(5));
    }
    let seen: Vec<Value> = reader.join().unwrap();
    let told = seen.last().unwrap()["logger"]["missed_metrics_count"].as_u64();
    assert!(told >= Some(missed), "{told:?} {missed}");
}

#[test]
fn figures_are_written_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics");
    let sink = Sink::new("vm-1", Registry::default());
    sink.open(&section(&path)).unwrap();
    let worker_loop = WorkerLoop::new().unwrap();
    let handle = worker_loop.handle();
    let thread = std::thread::spawn(move || worker_loop.run());
    sink.repeat(&handle, Duration::from_millis(10));
    let end = Instant::now() + Duration::from_secs(20);
    while lines(&path).len() < 4 {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(5));
    }
    handle.stop().unwrap();
    thread.join().unwrap().unwrap();
}
