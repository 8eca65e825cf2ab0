//! The small kernel (`cargo xtask kernel`), which machines get where it is installed: containers find in it what they
//! need. It takes a quarter of an hour to build, so a suite without it says so and holds Debian's to the same.

use std::path::Path;

use bulkhead_tests::{Daemon, asset};

/// A name, and what must hold inside a container.
const NEEDS: [(&str, &str); 9] = [
    ("every namespace", "cd /proc/self/ns && ls cgroup ipc mnt net pid time user uts"),
    (
        "file systems",
        "for f in overlay erofs ext4 tmpfs mqueue cgroup2; do grep -w $f /proc/filesystems || exit 1; done",
    ),
    (
        "control groups",
        "for c in cpu cpuset memory pids; do grep -w $c /sys/fs/cgroup/cgroup.controllers || exit 1; done",
    ),
    (
        "seccomp",
        "for a in kill_process errno log allow; do grep -w $a /proc/sys/kernel/seccomp/actions_avail || exit 1; done",
    ),
    ("IPv6", "test -e /proc/net/if_inet6"),
    ("keyrings", "test -e /proc/keys"),
    ("entropy of the host", "grep -q virtio_rng /sys/class/misc/hw_random/rng_current"),
    ("kvm-clock", "grep -q kvm-clock /sys/devices/system/clocksource/clocksource0/current_clocksource"),
    ("terminals", "test -c /dev/ptmx"),
];

#[test]
fn containers_find_what_they_need_in_the_kernel_that_is_installed() {
    let small = Path::new(&asset("vmlinux")).with_file_name("vmlinux-small").is_file();
    if !small {
        eprintln!("the small kernel is not at hand (cargo xtask kernel builds it): this is Debian's");
    }
    let mut script = String::from("uname -r\n");
    for (name, check) in NEEDS {
        script.push_str(&format!("({check}) >/tmp/said 2>&1 || echo 'no {name}:' $(cat /tmp/said)\n"));
    }
    let daemon = Daemon::start();
    let run = daemon.bulkhead(&["run", "--rm", &asset("busybox.img"), "sh", "-c", &script]).ok();
    let mut lines = run.stdout.lines();
    let release = lines.next().unwrap_or_default();
    assert_eq!(release.ends_with("-bulkhead"), small, "{release}");
    assert_eq!(lines.collect::<Vec<_>>(), Vec::<&str>::new());
}
