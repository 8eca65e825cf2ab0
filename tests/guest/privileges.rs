//! What Docker's users say of a container, by `bulkhead run`: privileges, limits of its processes, mounts.

use bulkhead_tests::{Daemon, asset};

/// Docker's form, in which a rule may depend on a capability.
const PROFILE: &str = r#"{
    "defaultAction": "SCMP_ACT_ALLOW",
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
    "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
        {"names": ["rmdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95, "includes": {"caps": ["CAP_SYS_ADMIN"]}}
    ]}"#;

#[test]
fn a_container_is_as_its_options_say() {
    let daemon = Daemon::start();
    let script = "
        grep -E '^(CapBnd|NoNewPrivs):' /proc/self/status
        id -u; id -g; pwd; hostname; echo $WORD; ulimit -Sn; ulimit -Hn
        touch /root-is-read-only; touch /scratch/written && ls /scratch
        cat /proc/sys/net/core/somaxconn /proc/sys/kernel/shmmax
        cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max";
    let options = "run --rm --cap-drop ALL --cap-add net_admin --security-opt no-new-privileges --read-only \
        --tmpfs /scratch:size=1m,mode=1777 --ulimit nofile=64:128 --sysctl net.core.somaxconn=77 \
        --sysctl kernel.shmmax=123456 -e WORD=said -w /proc -u 1000:1001 --hostname box --pids-limit 20 \
        --memory-limit 64m --cpus-limit 0.5 --entrypoint sh";
    let mut words: Vec<&str> = options.split_whitespace().collect();
    let image = asset("busybox.img");
    words.extend([image.as_str(), "-c", script]);
    let run = daemon.bulkhead(&words).ok();
    let expected = "CapBnd:\t0000000000001000\nNoNewPrivs:\t1\n1000\n1001\n/proc\nbox\nsaid\n64\n128\nwritten\n\
        77\n123456\n20\n67108864\n50000 100000\n";
    assert_eq!(run.stdout, expected, "{}", run.stderr);
    assert!(run.stderr.contains("Read-only file system"), "{}", run.stderr);
}

#[test]
fn a_profile_of_docker_s_is_what_holds_and_a_socket_to_the_host_stays_refused() {
    let daemon = Daemon::start();
    let folder = tempfile::tempdir().expect("a folder");
    let profile = folder.path().join("profile.json");
    std::fs::write(&profile, PROFILE).expect("a profile");
    let option = format!("seccomp={}", profile.display());
    let image = asset("busybox.img");
    let script = "mkdir /made; mkdir /tmp 2>/dev/null; touch /file && rmdir /file; exit 3";
    let run = daemon.bulkhead(&["run", "--rm", "--security-opt", &option, &image, "sh", "-c", script]);
    assert_eq!(run.status, 3, "{}", run.stderr);
    assert!(
        run.stderr.contains("/made': Not supported")
            || run.stderr.contains("/made': Operation not supported"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("Not a directory"), "{}", run.stderr);
    let script =
        "socket(my $s, 40, 1, 0) and die 'opened'; print \"refused\\n\"; socket($s, 2, 1, 0) or die $!";
    let words =
        ["run", "--rm", "--security-opt", "seccomp=unconfined", &asset("debian.img"), "perl", "-e", script];
    assert_eq!(daemon.bulkhead(&words).ok().stdout, "refused\n");
    let wrong = daemon.bulkhead(&["run", "--rm", "--cap-add", "FLY", &image, "true"]);
    assert_eq!(wrong.status, 125);
    assert!(wrong.stderr.contains("container.cap_add") && wrong.stderr.contains("FLY"), "{}", wrong.stderr);
}

#[test]
fn an_init_hands_signals_on_and_reaps_orphans() {
    let daemon = Daemon::start();
    let image = asset("busybox.img");
    // The orphan is there until it is reaped. A program that is process 1 itself would not die of its own signal.
    let script = "echo $PPID; sh -c 'sleep 0.2 & echo $! >/orphan'; while kill -0 $(cat /orphan); do :; done 2>/dev/null; kill -TERM $$";
    let run = daemon.bulkhead(&["run", "--rm", "--init", &image, "sh", "-c", script]);
    assert_eq!((run.status, run.stdout.as_str()), (143, "1\n"), "{}", run.stderr);
    let id = daemon.bulkhead(&["run", "-d", "--init", &image, "sleep", "1000"]).ok();
    let id = id.stdout.trim();
    let _ = daemon.bulkhead(&["kill", "--signal", "TERM", id]).ok();
    assert_eq!(daemon.bulkhead(&["wait", id]).ok().stdout.trim(), "143");
    let missing = daemon.bulkhead(&["run", "--rm", "--init", &image, "/no/such"]);
    assert_eq!(missing.status, 127, "{}", missing.stderr);
}
