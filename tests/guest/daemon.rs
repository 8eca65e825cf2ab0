//! The daemon may die: machines live on, and nothing is lost.

use bulkhead_tests::{Daemon, Footprint, asset};

#[test]
fn machines_outlive_a_crash_of_the_daemon_and_their_ends_are_known() {
    let before = Footprint::take();
    {
        let mut daemon = Daemon::start();
        let image = asset("busybox.img");
        let _ = daemon.bulkhead(&["run", "-d", "--name", "lives", &image, "sleep", "1000"]).ok();
        let short = ["run", "-d", "--name", "ends", &image, "sh", "-c", "sleep 4; echo late; exit 9"];
        let _ = daemon.bulkhead(&short).ok();
        let pid = daemon.inspect("lives")["status"]["pid"].clone();
        daemon.crash();
        std::thread::sleep(std::time::Duration::from_secs(6));
        daemon.serve();
        assert_eq!(daemon.inspect("lives")["status"]["pid"], pid);
        assert_eq!(daemon.inspect("lives")["status"]["phase"], "running");
        assert_eq!(daemon.bulkhead(&["wait", "ends"]).ok().text(), "9");
        let _ = daemon.bulkhead(&["stop", "-t", "1", "lives"]).ok();
        assert_eq!(daemon.inspect("lives")["status"]["phase"], "stopped");
    }
    let left = Footprint::take().added_since(&before);
    assert!(left.is_empty(), "left over: {left:#?}");
}
