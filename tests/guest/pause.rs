//! A machine that is held costs nothing, and goes on where it was; its rates can be changed meanwhile.

use std::time::Duration;

use bulkhead_tests::{Daemon, Footprint, asset};

/// The processor time that a process has used, in clock ticks (proc(5), `stat` fields 14 and 15).
fn ticks(pid: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let (_, rest) = stat.rsplit_once(')').expect("a stat line");
    rest.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().expect("a number")).sum()
}

#[test]
fn a_paused_machine_costs_nothing_outlives_the_daemon_and_goes_on() {
    let before = Footprint::take();
    {
        let mut daemon = Daemon::start();
        let busy = "i=0; while :; do i=$((i+1)); echo $i; usleep 100000; done";
        let run = ["run", "-d", "--name", "held", &asset("busybox.img"), "sh", "-c", busy];
        let _ = daemon.bulkhead(&run).ok();
        let pid = daemon.inspect("held")["status"]["pid"].to_string();
        let _ = daemon.bulkhead(&["pause", "held"]).ok();
        assert_eq!(daemon.inspect("held")["status"]["phase"], "paused");
        let again = daemon.bulkhead(&["pause", "held"]);
        assert_eq!(again.status, 1);
        assert!(again.stderr.contains("Machine held is paused already"), "{}", again.stderr);

        // What was on its way is printed; then nothing is, and no processor time passes.
        std::thread::sleep(Duration::from_secs(1));
        let (printed, used) = (daemon.bulkhead(&["logs", "held"]).ok().stdout, ticks(&pid));
        daemon.crash();
        std::thread::sleep(Duration::from_secs(2));
        daemon.serve();
        assert_eq!(daemon.inspect("held")["status"]["phase"], "paused");
        assert!(ticks(&pid) - used <= 2, "{} ticks while paused", ticks(&pid) - used);
        assert_eq!(daemon.bulkhead(&["logs", "held"]).ok().stdout, printed);

        let _ = daemon.bulkhead(&["unpause", "held"]).ok();
        assert_eq!(daemon.inspect("held")["status"]["phase"], "running");
        assert_eq!(daemon.bulkhead(&["unpause", "held"]).status, 1);
        std::thread::sleep(Duration::from_secs(2));
        let later = daemon.bulkhead(&["logs", "held"]).ok().stdout;
        assert!(later.starts_with(&printed) && later.len() > printed.len(), "{later}");
        assert!(daemon.ready("held").contains("200 OK"));

        let _ = daemon.bulkhead(&["pause", "held"]).ok();
        let _ = daemon.bulkhead(&["stop", "-t", "2", "held"]).ok();
        let status = daemon.inspect("held")["status"].clone();
        assert_eq!(
            (status["phase"].as_str(), status["exit"]["reason"].as_str()),
            (Some("stopped"), Some("guest-exit"))
        );
    }
    let left = Footprint::take().added_since(&before);
    assert!(left.is_empty(), "left over: {left:#?}");
}

#[test]
fn rates_hold_at_the_start_and_change_while_it_runs() {
    let daemon = Daemon::start();
    let image = asset("busybox.img");
    let refused = daemon.bulkhead(&["run", "--io-maxbandwidth", "fast", &image, "true"]);
    assert_eq!(refused.status, 2);
    let _ = daemon
        .bulkhead(&["run", "-d", "--name", "slow", "--io-maxiops", "1000", &image, "sleep", "1000"])
        .ok();
    let _ = daemon.bulkhead(&["update", "--io-maxiops", "7", "--net-maxreceive", "1m", "slow"]).ok();
    let spec = daemon.inspect("slow")["spec"]["rates"].clone();
    assert_eq!(spec["disk_requests_per_s"], 7);
    let config = daemon.vmm_config("slow");
    assert_eq!(config["drives"][0]["rate_limiter"]["ops"]["size"], 7, "{config}");
    let interface = &config["network-interfaces"][0];
    assert_eq!(interface["rx_rate_limiter"]["bandwidth"]["size"], 1 << 20, "{config}");
    let _ = daemon.bulkhead(&["stop", "-t", "1", "slow"]).ok();
    let missing = daemon.bulkhead(&["update", "--io-maxiops", "7", "nobody"]);
    assert!(missing.stderr.contains("There is no machine nobody"), "{}", missing.stderr);
}
