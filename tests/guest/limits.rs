//! A container that takes all it can get is stopped by its limits, while initd still answers.

use bulkhead_tests::{Daemon, asset};

/// Asks initd again and again.
fn answers(daemon: &Daemon, name: &str, rounds: u32) {
    for _ in 0..rounds {
        let answer = daemon.ready(name);
        assert!(answer.contains("HTTP/1.1 200 OK") && answer.contains("boot_id"), "{answer}");
    }
}

#[test]
fn a_fork_bomb_is_stopped_by_the_process_limit() {
    let daemon = Daemon::start();
    let bomb = "bomb() { bomb | bomb & }; bomb 2>/dev/null; sleep 1000";
    let image = asset("debian.img");
    let arguments = ["run", "-d", "--name", "bomb", "--pids-limit", "64", &image, "bash", "-c", bomb];
    let _ = daemon.bulkhead(&arguments).ok();
    answers(&daemon, "bomb", 5);
    let _ = daemon.bulkhead(&["rm", "--force", "bomb"]).ok();
}

#[test]
fn a_memory_hog_is_killed_and_not_initd() {
    let daemon = Daemon::start();
    let image = asset("debian.img");
    let arguments =
        ["run", "-d", "--name", "hog", "-m", "256", "--memory-limit", "64", &image, "tail", "/dev/zero"];
    let _ = daemon.bulkhead(&arguments).ok();
    assert_eq!(daemon.bulkhead(&["wait", "hog"]).ok().text(), "137");
    let machine = daemon.inspect("hog");
    assert_eq!(machine["status"]["exit"]["oom_killed"], true, "{machine}");

    let child = "tail /dev/zero; echo status $?; sleep 1000";
    let arguments =
        ["run", "-d", "--name", "hogs", "-m", "256", "--memory-limit", "64", &image, "bash", "-c", child];
    let _ = daemon.bulkhead(&arguments).ok();
    answers(&daemon, "hogs", 5);
}
