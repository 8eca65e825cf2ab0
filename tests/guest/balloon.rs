//! Memory that a guest lends to the host: by a balloon, by telling its free pages, and when asked for them.

use std::time::{Duration, Instant};

use bulkhead_tests::bare::{Bare, QUIET, boot};
use bulkhead_tests::{asset, root};
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;
/// How long a guest may take to give or take memory in an emulated lab.
const PATIENCE: Duration = Duration::from_secs(90);
/// Makes the guest touch 250 MiB and let go of them again.
const TOUCH: &str = "mount -t tmpfs -o size=300m tmpfs /tmp
dd if=/dev/zero of=/tmp/a bs=1M count=250 2>/dev/null; rm /tmp/a
";
/// Tells the guest's memory once a second, in one write.
const TELL: &str = "echo TOUCHED
tell() { echo \"MEM $(awk '{ printf \"%s %s \", $1, $2 }' /proc/meminfo | cut -c1-90) END\"; }
";

fn start(folder: &tempfile::TempDir, script: &str, balloon: &Value) -> Bare {
    let initramfs = root::with_modules(folder.path(), script);
    let sections = json!({ "balloon": balloon, "machine-config": {"vcpu_count": 1, "mem_size_mib": 384},
        "metrics": {"metrics_path": folder.path().join("metrics")} });
    Bare::start(&boot(&asset("vmlinux"), &initramfs, QUIET, sections))
}

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("bulkhead-balloon-").tempdir().expect("a temporary folder")
}

/// Waits until `ready` gives something.
fn wait<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < end, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn wait_for_resident_below(machine: &Bare, mib: u64) {
    wait(&format!("less than {mib} MiB resident"), || {
        let resident = root::resident_kib(machine.pid()) / 1024;
        (resident < mib).then_some(())
    });
}

/// The last `field` of /proc/meminfo that the guest told, in bytes.
fn told(machine: &Bare, field: &str) -> Option<u64> {
    let console = machine.console();
    let line =
        console.lines().rev().find(|line| line.starts_with("MEM ") && line.ends_with(" END"))?.to_owned();
    let mut words = line.split_whitespace().skip_while(|word| *word != field).skip(1);
    Some(words.next()?.parse::<u64>().ok()? * 1024)
}

#[test]
fn a_balloon_grows_tells_the_truth_and_gives_the_memory_back() {
    let folder = folder();
    // What is in the balloon is no memory of the guest's.
    let script = format!(
        "{TOUCH}{TELL}
small() {{ [ $(awk '/MemTotal/ {{ print $2 }}' /proc/meminfo) -lt 250000 ]; }}
until small; do sleep 1; tell; done; echo LENT
while small; do sleep 1; tell; done; echo BACK
seq 1 2000000 > /tmp/b; cp /tmp/b /tmp/c; dd if=/dev/zero of=/tmp/d bs=1M count=200 2>/dev/null
cmp /tmp/b /tmp/c && md5sum < /tmp/c; echo USED; sleep 1000"
    );
    let balloon = json!({"amount_mib": 0, "deflate_on_oom": false, "stats_polling_interval_s": 1});
    let mut machine = start(&folder, &script, &balloon);
    machine.await_console("TOUCHED");
    let before = root::resident_kib(machine.pid()) / 1024;
    assert!(before > 250, "{before} MiB are resident");
    let (status, answer) = machine.api("PATCH", "/balloon", &json!({"amount_mib": 385}));
    assert_eq!((status, answer["fault_message"].as_str().is_some()), (400, true), "{answer}");
    let statistics = |machine: &Bare| machine.api("GET", "/balloon/statistics", &Value::Null).1;
    assert_eq!(statistics(&machine)["actual_mib"], 0);

    machine.ask("PATCH", "/balloon", &json!({"amount_mib": 200}));
    wait("the balloon to grow", || (statistics(&machine)["actual_mib"] == 200).then_some(()));
    assert_eq!(machine.api("GET", "/vm/config", &Value::Null).1["balloon"]["amount_mib"], 200);
    let after = root::resident_kib(machine.pid()) / 1024;
    assert!(after + 180 < before, "{before} MiB were resident, and {after} MiB are");
    // The guest's own figures, a few moments apart.
    machine.await_console("LENT");
    wait("true statistics", || {
        let statistics = statistics(&machine);
        let near = |name: &str, field: &str, bytes: u64| {
            let told = told(&machine, field)?;
            Some(statistics[name].as_u64()?.abs_diff(told) < bytes)
        };
        let all = near("total_memory", "MemTotal:", 4096)?
            && near("free_memory", "MemFree:", 8 * MIB)?
            && near("available_memory", "MemAvailable:", 8 * MIB)?;
        (all && statistics["minor_faults"].as_u64()? > 100).then_some(())
    });

    for (interval, status) in [(5, 204), (0, 400), (1, 204)] {
        let body = json!({"stats_polling_interval_s": interval});
        assert_eq!(machine.api("PATCH", "/balloon/statistics", &body).0, status, "{interval}");
    }
    assert_eq!(machine.api("PUT", "/balloon", &json!({"amount_mib": 0, "deflate_on_oom": true})).0, 400);
    machine.ask("PATCH", "/balloon", &json!({"amount_mib": 0}));
    machine.await_console("BACK");
    let console = machine.await_console("USED");
    // `seq 1 2000000 | md5sum`
    assert!(console.contains("6736d7273b6d064962343221daf13702"), "{console}");
    assert_eq!(statistics(&machine)["actual_pages"], 0);
}

#[test]
fn what_a_process_freed_goes_back_when_free_pages_are_reported() {
    let folder = folder();
    let script = "mount -t tmpfs -o size=300m tmpfs /tmp
dd if=/dev/zero of=/tmp/a bs=1M count=250 2>/dev/null; echo TOUCHED; sleep 3; rm /tmp/a; echo FREED
while :; do sleep 1; done";
    let balloon = json!({"amount_mib": 0, "deflate_on_oom": false, "free_page_reporting": true});
    let mut machine = start(&folder, script, &balloon);
    machine.await_console("TOUCHED");
    let before = root::resident_kib(machine.pid()) / 1024;
    assert!(before > 250, "{before} MiB are resident");
    machine.await_console("FREED");
    wait_for_resident_below(&machine, before - 200);
    let balloon = machine.counted(&folder.path().join("metrics"), "balloon");
    assert!(balloon["free_page_report_freed"].as_u64() > Some(200 * MIB), "{balloon}");
    assert_eq!(machine.api("GET", "/balloon/statistics", &Value::Null).0, 400, "not enabled");
}

#[test]
fn a_run_of_hinting_goes_from_its_start_to_its_end() {
    let folder = folder();
    let script = format!("{TOUCH}{TELL}while :; do sleep 1; tell; done");
    let balloon = json!({"amount_mib": 0, "deflate_on_oom": false, "free_page_hinting": true});
    let mut machine = start(&folder, &script, &balloon);
    machine.await_console("TOUCHED");
    let before = root::resident_kib(machine.pid()) / 1024;
    let status = |machine: &Bare| machine.api("GET", "/balloon/hinting/status", &Value::Null).1;
    assert_eq!(status(&machine), json!({"host_cmd": 0}));
    machine.ask("PATCH", "/balloon/hinting/start", &Value::Null);
    let done = json!({"host_cmd": 1, "guest_cmd": 0});
    wait("the run to be done", || (status(&machine) == done).then_some(()));
    wait_for_resident_below(&machine, before - 150);
    // The guest has its memory again.
    wait("free memory in the guest", || (told(&machine, "MemFree:")? > 250 * MIB).then_some(()));

    // A run that ends when it is told to.
    machine.ask("PATCH", "/balloon/hinting/start", &json!({"acknowledge_on_stop": false}));
    wait("all pages to be told", || {
        (status(&machine) == json!({"host_cmd": 3, "guest_cmd": 0})).then_some(())
    });
    machine.ask("PATCH", "/balloon/hinting/stop", &Value::Null);
    assert_eq!(status(&machine), done);
    wait("free memory in the guest", || (told(&machine, "MemFree:")? > 250 * MIB).then_some(()));
}

#[test]
fn a_guest_in_need_takes_memory_back_from_its_balloon() {
    let folder = folder();
    let script = format!(
        "mount -t tmpfs -o size=300m tmpfs /tmp
{TELL}until [ $(awk '/MemFree/ {{ print $2 }}' /proc/meminfo) -lt 130000 ]; do sleep 1; done; echo LENT
dd if=/dev/zero of=/tmp/a bs=1M count=160 2>/dev/null; ls -l /tmp/a; echo FILLED; while :; do sleep 1; done"
    );
    let balloon = json!({"amount_mib": 230, "deflate_on_oom": true, "stats_polling_interval_s": 1});
    let mut machine = start(&folder, &script, &balloon);
    machine.await_console("LENT");
    let console = machine.await_console("FILLED");
    assert!(console.contains(&(160 * MIB).to_string()), "{console}");
    let (_, statistics) = machine.api("GET", "/balloon/statistics", &Value::Null);
    assert_eq!(statistics["target_mib"], 230);
    assert!(statistics["actual_mib"].as_u64() < Some(215), "{statistics}");
}
