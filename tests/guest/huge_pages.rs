//! Guest memory of pages that the host has set apart.

use std::fs;

use bulkhead_tests::bare::{Bare, QUIET, boot};
use bulkhead_tests::{asset, root};
use serde_json::{Value, json};

const POOL: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";

/// Some more than the guest needs.
const POOL_PAGES: u64 = 134;

/// The host's pool, set to a size and set back.
struct Pool(String);

impl Pool {
    fn set(pages: u64) -> Self {
        let before = fs::read_to_string(format!("{POOL}/nr_hugepages")).expect("a pool of huge pages");
        fs::write(format!("{POOL}/nr_hugepages"), pages.to_string()).expect("a pool that can be set");
        let pool = Self(before);
        assert_eq!(Self::free(), pages, "the host has no room for {pages} huge pages");
        pool
    }

    fn free() -> u64 {
        let text = fs::read_to_string(format!("{POOL}/free_hugepages")).expect("a pool of huge pages");
        text.trim().parse().expect("a number")
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let _ = fs::write(format!("{POOL}/nr_hugepages"), &self.0);
    }
}

fn config(folder: &tempfile::TempDir) -> Value {
    let script = "mount -t tmpfs -o size=200m tmpfs /tmp
dd if=/dev/zero of=/tmp/a bs=1M count=140 2>/dev/null; echo TOUCHED; rm /tmp/a; echo FREED
while :; do sleep 1; done";
    let sections = json!({
        "machine-config": {"vcpu_count": 1, "mem_size_mib": 256, "huge_pages": "2M", "track_dirty_pages": true},
        "balloon": {"amount_mib": 0, "deflate_on_oom": false, "stats_polling_interval_s": 1,
            "free_page_reporting": true},
    });
    boot(&asset("vmlinux"), &root::with_modules(folder.path(), script), QUIET, sections)
}

#[test]
fn a_guest_runs_on_them_with_a_balloon_and_too_few_are_one_sentence() {
    let folder = tempfile::Builder::new().prefix("bulkhead-huge-").tempdir().expect("a temporary folder");
    let config = config(&folder);
    {
        let _pool = Pool::set(127);
        let machine = Bare::start(&config);
        let errors = machine.path("errors");
        let kept = folder.path().join("errors");
        fs::hard_link(errors, &kept).expect("a second name");
        assert_eq!(machine.wait().0, Some(1));
        let sentence = fs::read_to_string(kept).expect("errors");
        let expected = "The guest needs 128 huge pages of 2 MiB, and the host has 127 that are free";
        assert!(sentence.contains(expected), "{sentence}");
    }
    let _pool = Pool::set(POOL_PAGES);
    let mut machine = Bare::start(&config);
    machine.await_console("TOUCHED");
    let held = Pool::free();
    assert!(held < POOL_PAGES - 70, "{held} huge pages are free while the guest has touched 140 MiB");
    let (_, told) = machine.api("GET", "/machine-config", &Value::Null);
    assert_eq!((&told["huge_pages"], &told["track_dirty_pages"]), (&json!("2M"), &json!(true)));
    // What the guest reports are runs of 2 MiB and more, which are whole pages here too. (It reports nothing
    // unless 64 MiB are free beside: Linux's mm/page_reporting.c.)
    machine.await_console("FREED");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while Pool::free() < held + 40 {
        assert!(std::time::Instant::now() < end, "{} huge pages are free, {held} before", Pool::free());
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    // A balloon takes single small pages, which give nothing back but are the guest's no more.
    machine.ask("PATCH", "/balloon", &json!({"amount_mib": 20}));
    while machine.api("GET", "/balloon/statistics", &Value::Null).1["actual_mib"] != 20 {
        assert!(std::time::Instant::now() < end, "the balloon does not grow");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    drop(machine);
    assert_eq!(Pool::free(), POOL_PAGES);
}
