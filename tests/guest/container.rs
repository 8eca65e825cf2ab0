//! A Debian root as a container: what it prints, what it sees, how it ends.

use bulkhead_tests::{Daemon, asset};

#[test]
fn a_debian_root_prints_its_own_release_and_its_exit_status_is_ours() {
    let daemon = Daemon::start();
    let run =
        daemon.bulkhead(&["run", "--rm", &asset("debian.img"), "sh", "-c", "cat /etc/os-release; exit 42"]);
    assert_eq!(run.status, 42, "{}", run.stderr);
    assert!(run.stdout.contains("ID=debian"), "{}", run.stdout);
    assert!(run.stdout.contains("VERSION_CODENAME=bookworm"), "{}", run.stdout);
}

#[test]
fn a_container_is_pid_1_and_sees_only_itself() {
    let daemon = Daemon::start();
    let script = "echo $$; ls /proc | grep -E '^[0-9]+$' | sort -n | tr '\\n' ' '";
    let run = daemon.bulkhead(&["run", "--rm", &asset("busybox.img"), "sh", "-c", script]).ok();
    let mut lines = run.stdout.lines();
    assert_eq!(lines.next(), Some("1"));
    let processes: Vec<u32> =
        lines.next().unwrap_or_default().split_whitespace().map(|pid| pid.parse().expect("a pid")).collect();
    assert!(processes.first() == Some(&1) && processes.iter().all(|pid| *pid < 10), "{processes:?}");
}

#[test]
fn standard_error_stays_apart_from_standard_output() {
    let daemon = Daemon::start();
    let run =
        daemon.bulkhead(&["run", "--rm", &asset("busybox.img"), "sh", "-c", "echo out; echo err >&2"]).ok();
    assert_eq!(run.stdout, "out\n");
    assert_eq!(run.stderr, "err\n");
}

#[test]
fn the_root_is_writable_and_the_image_is_not_changed() {
    let daemon = Daemon::start();
    let script = "echo changed > /etc/passwd && cat /etc/passwd && test ! -e /left && touch /left";
    for _ in 0..2 {
        let run = daemon.bulkhead(&["run", "--rm", &asset("busybox.img"), "sh", "-c", script]).ok();
        assert_eq!(run.stdout, "changed\n");
    }
}

#[test]
fn a_container_has_docker_s_capabilities_and_no_more() {
    let daemon = Daemon::start();
    let script =
        "grep -E '^(CapInh|CapEff|CapBnd|CapAmb|Seccomp):' /proc/self/status; ls -l /proc/self/fd | wc -l";
    let run = daemon.bulkhead(&["run", "--rm", &asset("busybox.img"), "sh", "-c", script]).ok();
    assert!(run.stdout.contains("CapInh:\t0000000000000000"), "{}", run.stdout);
    assert!(run.stdout.contains("CapAmb:\t0000000000000000"), "{}", run.stdout);
    assert!(run.stdout.contains("CapEff:\t00000000a80425fb"), "{}", run.stdout);
    assert!(run.stdout.contains("CapBnd:\t00000000a80425fb"), "{}", run.stdout);
    assert!(run.stdout.contains("Seccomp:\t2"), "{}", run.stdout);
}

#[test]
fn a_container_cannot_open_a_vsock() {
    let daemon = Daemon::start();
    let script = "socket(my $s, 40, 1, 0) and die 'opened'; print \"$!\\n\"; socket($s, 2, 1, 0) or die $!";
    let run = daemon.bulkhead(&["run", "--rm", &asset("debian.img"), "perl", "-e", script]).ok();
    assert!(!run.stdout.contains("opened"), "{}", run.stdout);
}

#[test]
fn logs_are_kept_after_the_end_and_start_runs_it_again() {
    let daemon = Daemon::start();
    let id = daemon.bulkhead(&["run", "-d", "--name", "again", &asset("busybox.img"), "echo", "hello"]).ok();
    assert!(!id.text().is_empty());
    assert_eq!(daemon.bulkhead(&["wait", "again"]).ok().text(), "0");
    assert_eq!(daemon.bulkhead(&["logs", "again"]).ok().stdout, "hello\n");
    let _ = daemon.bulkhead(&["start", "again"]).ok();
    assert_eq!(daemon.bulkhead(&["wait", "again"]).ok().text(), "0");
}

#[test]
fn a_volume_outlives_its_machine() {
    let daemon = Daemon::start();
    let run = |script: &str| {
        let image = asset("busybox.img");
        daemon.bulkhead(&["run", "--rm", "-v", "keep:/data", &image, "sh", "-c", script])
    };
    let _ = run("echo kept > /data/file").ok();
    assert_eq!(run("cat /data/file").ok().stdout, "kept\n");
}
