//! Containers with users of their own: root inside, nobody in the guest.

use bulkhead_tests::{Daemon, Finished, asset};
use serde_json::{Value, json};

/// `sh -c SCRIPT` in busybox, with the arguments given.
fn run(daemon: &Daemon, arguments: &[&str], script: &str) -> Finished {
    let image = asset("busybox.img");
    let words = [&["run", "--rm"], arguments, &[image.as_str(), "sh", "-c", script]].concat();
    daemon.bulkhead(&words)
}

#[test]
fn root_is_another_one_and_its_exit_status_is_ours() {
    let daemon = Daemon::start();
    let script = "id -u; cat /proc/self/uid_map /proc/self/gid_map; cat /proc/self/setgroups; exit 42";
    let maps = |userns| {
        let run = run(&daemon, &["--userns", userns], script);
        assert_eq!(run.status, 42, "{}{}", run.stdout, run.stderr);
        run.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(maps("private"), "0 0 65536 65536 0 65536 65536 allow");
    assert_eq!(maps("host"), "0 0 0 4294967295 0 0 4294967295 allow");
    let wrong = run(&daemon, &["--userns", "auto"], "true");
    assert!(wrong.status != 0 && wrong.stderr.contains("neither host nor private"), "{}", wrong.stderr);
}

#[test]
fn root_cannot_do_what_the_guest_s_root_can() {
    let daemon = Daemon::start();
    // Each of these is allowed to Docker's capabilities.
    let script = "mknod /tmp/null c 1 3 && echo made; head -c 1 /proc/vmallocinfo && echo read; true";
    let host = run(&daemon, &["--userns", "host"], script).ok();
    assert!(host.stdout.contains("made") && host.stdout.contains("read"), "{}", host.stdout);
    let own = run(&daemon, &["--userns", "private"], script).ok();
    assert_eq!(own.stdout, "", "{}", own.stderr);
    assert!(own.stderr.contains("mknod") && own.stderr.contains("vmallocinfo"), "{}", own.stderr);
}

#[test]
fn files_are_root_s_and_devices_work() {
    let daemon = Daemon::start();
    let script = "set -e
        touch /new; echo changed >> /etc/passwd
        stat -c '%u:%g %n' / /new /bin/busybox /etc/passwd /etc/hostname /dev/null
        rm -r /etc; mkdir /etc; ls -A /etc | wc -l
        chown 1000:1000 /new; stat -c %u:%g /new
        echo gone > /dev/null; head -c 4 /dev/zero | wc -c; echo out > /dev/stdout
        ls /sys/class/net | grep -c eth0; test -f /sys/fs/cgroup/cgroup.procs; test -c /dev/pts/ptmx
        ls /dev | tr '\\n' ' '";
    let own = run(&daemon, &["--userns", "private"], script).ok();
    let host = run(&daemon, &["--userns", "host"], script).ok();
    assert_eq!(own.stdout, host.stdout);
    let lines: Vec<&str> = own.stdout.lines().collect();
    let owners = ["/", "/new", "/bin/busybox", "/etc/passwd", "/etc/hostname", "/dev/null"];
    assert_eq!(lines[..6], owners.map(|path| format!("0:0 {path}")), "{}", own.stdout);
    assert_eq!(lines[6..11], ["0", "1000:1000", "4", "out", "1"], "{}", own.stdout);
}

#[test]
fn other_users_of_the_container_write_to_their_output_and_unknown_ids_are_named() {
    let daemon = Daemon::start();
    for userns in ["private", "host"] {
        let script = "id -u; id -g; echo out > /dev/stdout; touch /new 2>/dev/null || echo no";
        let run = run(&daemon, &["--userns", userns, "--user", "1000:1001"], script).ok();
        assert_eq!(run.stdout, "1000\n1001\nout\nno\n", "{userns}: {}", run.stderr);
    }
    let unknown = run(&daemon, &["--userns", "private", "--user", "65536"], "true");
    assert_ne!(unknown.status, 0);
    assert!(unknown.stderr.contains("does not map user 65536"), "{}", unknown.stderr);
}

#[test]
fn a_volume_has_the_same_owners_whoever_s_users_see_it() {
    let daemon = Daemon::start();
    let list = "stat -c '%u:%g %n' /data/*";
    let write = |userns, name| {
        let script =
            format!("touch /data/{name} && chown 7:8 /data/{name} && touch /data/root-{name} && {list}");
        run(&daemon, &["--userns", userns, "-v", "shared:/data"], &script).ok()
    };
    let _ = write("private", "a");
    let seen = write("host", "b");
    let expected = "7:8 /data/a\n7:8 /data/b\n0:0 /data/root-a\n0:0 /data/root-b\n";
    let listed = seen.stdout.replace("0:0 /data/lost+found\n", "");
    assert_eq!(listed, expected);
    let again = run(&daemon, &["--userns", "private", "-v", "shared:/data"], list).ok();
    assert_eq!(again.stdout.replace("0:0 /data/lost+found\n", ""), expected);
}

/// A container beside the machine's own, with every capability and the guest's disk as a device, whose root is
/// the guest's or, with `users`, another.
fn privileged(id: &str, disk: (u32, u32), users: bool, script: &str) -> Value {
    let names = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER KILL MKNOD SETGID SETUID SETPCAP SYS_ADMIN \
                 SYS_MODULE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_BOOT NET_ADMIN";
    let names: Vec<String> = names.split_whitespace().map(|name| format!("CAP_{name}")).collect();
    let mapping = json!([{ "containerID": 0, "hostID": 65536, "size": 65536 }]);
    let mut linux = json!({
        "devices": [{ "path": "/dev/disk", "type": "b", "major": disk.0, "minor": disk.1 }],
    });
    if users {
        linux["namespaces"] = json!([{ "type": "user" }]);
        linux["uidMappings"] = mapping.clone();
        linux["gidMappings"] = mapping;
    }
    json!({
        "id": id,
        "root": { "device": "serial:root" },
        "spec": {
            "process": {
                "args": ["/bin/sh", "-c", script],
                "capabilities": { "bounding": names, "effective": names, "permitted": names },
            },
            "linux": linux,
        },
    })
}

#[test]
fn every_capability_of_its_own_is_none_of_the_guest_s() {
    let daemon = Daemon::start();
    let image = asset("busybox.img");
    let script = "cat /sys/class/block/vda/dev; sleep 1000";
    let _ = daemon.bulkhead(&["run", "-d", "--name", "guest", &image, "sh", "-c", script]).ok();
    let disk = daemon.bulkhead(&["logs", "guest"]).ok().stdout;
    let disk = disk.trim().split_once(':').expect("the numbers of a device");
    let disk = (disk.0.parse().expect("a number"), disk.1.parse().expect("a number"));
    let script = "mkdir /a /b; hostname other && echo named; mount -t tmpfs tmpfs /a && echo mounted tmpfs
        mount -t erofs /dev/disk /b && echo mounted disk
        echo 0 > /proc/sys/kernel/panic && echo wrote panic
        test \"$(date -s @1000000000 2>&1 | grep -c set)\" = 0 && echo moved clock; true";
    let run = |id: &str, users| {
        let body = privileged(id, disk, users, script).to_string();
        let made = daemon.ask_initd("guest", "POST", "/v1/containers", &body);
        assert!(made.starts_with("HTTP/1.1 201"), "{made}");
        let path = format!("/v1/containers/{id}");
        let started = daemon.ask_initd("guest", "POST", &format!("{path}/start"), "");
        assert!(started.starts_with("HTTP/1.1 200"), "{started}");
        let ended = daemon.ask_initd("guest", "GET", &format!("{path}/wait"), "");
        assert!(ended.contains("\"code\":0"), "{ended}");
        daemon.ask_initd("guest", "GET", &format!("{path}/logs"), "")
    };
    let (own, guest) = (run("own", true), run("guest-root", false));
    let everything = ["named", "mounted tmpfs", "mounted disk", "wrote panic", "moved clock"];
    for (number, thing) in everything.into_iter().enumerate() {
        assert!(guest.contains(thing), "{thing}: {guest}");
        assert_eq!(own.contains(thing), number < 2, "{thing}: {own}");
    }
}

#[test]
fn what_is_wrong_with_a_request_is_the_caller_s_fault_and_named() {
    let daemon = Daemon::start();
    let image = asset("busybox.img");
    let _ = daemon.bulkhead(&["run", "-d", "--name", "guest", &image, "sleep", "1000"]).ok();
    let refused = |word: &str, change: &dyn Fn(&mut Value)| {
        let mut body = privileged("wrong", (1, 3), true, "true");
        change(&mut body);
        let answer = daemon.ask_initd("guest", "POST", "/v1/containers", &body.to_string());
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains(word), "{word}: {answer}");
    };
    refused("linux.uidMappings", &|body| body["spec"]["linux"]["uidMappings"] = json!([]));
    refused("linux.gidMappings", &|body| body["spec"]["linux"]["gidMappings"][0]["size"] = json!(0));
    refused("linux.uidMappings", &|body| body["spec"]["linux"]["namespaces"] = json!([]));
    refused("No block device is serial:none", &|body| {
        body["volumes"] = json!([{ "device": "serial:none", "destination": "/data" }]);
    });
    refused("no user nobody-here", &|body| {
        body["spec"]["process"]["user"]["username"] = json!("nobody-here");
    });
    let left = daemon.ask_initd("guest", "GET", "/v1/containers", "");
    assert_eq!(left.matches("\"id\"").count(), 1, "{left}");
}
