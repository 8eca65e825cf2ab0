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

/// Whether initd runs a process and tells of it within a second of the machine's time, by its own clock.
fn runs_within_a_second(daemon: &Daemon, name: &str) {
    let run = daemon.bulkhead(&["exec", name, "cat", "/proc/uptime"]).ok();
    let seconds = |text: &str| text.split(['.', ' ']).next().and_then(|text| text.parse::<u64>().ok());
    let before = seconds(&run.stdout).expect("an uptime");
    answers(daemon, name, 3);
    let run = daemon.bulkhead(&["exec", name, "cat", "/proc/uptime"]).ok();
    let after = seconds(&run.stdout).expect("an uptime");
    // Three answers and a process between the two.
    assert!(after - before <= 4, "{before} s, then {after} s");
}

#[test]
fn a_container_that_opens_files_without_end_leaves_some_to_initd() {
    let daemon = Daemon::start();
    let image = asset("debian.img");
    // As many processes as there may be, each with as many files as it may have.
    let script = "$| = 1; for (1..200) { last unless defined($_ = fork); next if $_; \
        while (open(my $f, '<', '/etc/passwd')) { push @f, $f } print \"full $!\\n\"; sleep 100000 } sleep 100000";
    let words =
        ["run", "-d", "--name", "files", "--ulimit", "nofile=4096:4096", &image, "perl", "-e", script];
    let _ = daemon.bulkhead(&words).ok();
    until(&daemon, "files", "full");
    answers(&daemon, "files", 5);
    // Process 1 is exempt from the kernel's limit of open files; what it runs in the container is not.
    let run = daemon.bulkhead(&["exec", "files", "true"]);
    assert!(run.status == 0 || run.stderr.contains("files"), "{} {}", run.status, run.stderr);
}

#[test]
fn a_container_that_fills_dev_shm_hits_its_size() {
    let daemon = Daemon::start();
    let image = asset("debian.img");
    let script = "dd if=/dev/zero of=/dev/shm/full bs=1M; du -m /dev/shm/full; echo full; sleep 100000";
    let words = ["run", "-d", "--name", "shm", &image, "sh", "-c", script];
    let _ = daemon.bulkhead(&words).ok();
    until(&daemon, "shm", "full");
    let logs = daemon.bulkhead(&["logs", "shm"]).ok();
    assert!(
        logs.stderr.contains("No space left") && logs.stdout.starts_with("64\t"),
        "{}{}",
        logs.stdout,
        logs.stderr
    );
    runs_within_a_second(&daemon, "shm");
}

#[test]
fn a_container_that_kills_all_it_can_reach_reaches_itself() {
    let daemon = Daemon::start();
    let image = asset("busybox.img");
    // Without end, also what enters it: who enters is killed, and initd says so.
    let words =
        ["run", "-d", "--name", "killer", &image, "sh", "-c", "echo up; while :; do kill -9 -1; done"];
    let _ = daemon.bulkhead(&words).ok();
    until(&daemon, "killer", "up");
    answers(&daemon, "killer", 5);
    let run = daemon.bulkhead(&["exec", "killer", "sleep", "1000"]);
    assert!(run.status == 137 || run.status == 1, "{} {}", run.status, run.stderr);
    answers(&daemon, "killer", 5);
    assert_eq!(daemon.inspect("killer")["status"]["phase"], "running");
    // A shell that only can kill others kills what is in its container, and not itself: the machine goes on.
    let _ = daemon.bulkhead(&["stop", "-t", "0", "killer"]).ok();
}

/// Waits until a container has printed a word.
fn until(daemon: &Daemon, name: &str, word: &str) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !daemon.bulkhead(&["logs", name]).ok().stdout.contains(word) {
        assert!(std::time::Instant::now() < end, "{name} does not say {word}");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}
