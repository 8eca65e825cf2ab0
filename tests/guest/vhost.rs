//! A network interface whose queues the host's kernel serves.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use bulkhead_tests::bare::Bare;
use bulkhead_tests::vmm::{boot, config};
use bulkhead_tests::{Daemon, Footprint, asset, run, tap};
use serde_json::{Value, json};

use crate::interface::{both_ways, folder, start, start_with};

/// What a counter of the host's end says.
fn count(tap: &tap::Tap, name: &str) -> u64 {
    let path = format!("/sys/class/net/{}/statistics/{name}", tap.name());
    fs::read_to_string(path).expect("a counter").trim().parse().expect("a number")
}

/// How often the guest has printed a line.
fn lines(console: &str, line: &str) -> usize {
    console.lines().filter(|found| found.trim_end() == line).count()
}

#[test]
fn what_is_sent_arrives_both_ways_without_this_process() {
    let net = both_ways("tap-kernel", &json!({"vhost": true}));
    assert!(net["vhost_interrupts_count"].as_u64() > Some(100), "{net}");
    for name in ["tx_count", "rx_count", "tx_queue_event_count", "rx_tap_event_count", "event_fails"] {
        assert_eq!(net[name], 0, "{net}");
    }
}

#[test]
fn a_driver_that_comes_and_goes_finds_the_interface_again() {
    let (folder, tap) = (folder(), tap::Tap::with_queues("tap-again"));
    let script = r#"
echo queues $(ls /sys/class/net/eth0/queues)
device=$(basename $(readlink -f /sys/class/net/eth0/device))
for round in 1 2 3 4 5; do
ip link set eth0 down; ip link set eth0 up
for cpu in 1 2; do taskset $cpu ping -c 3 -i 0.2 172.31.7.1 | grep -o '[0-9]*% packet loss'; done
echo $device > /sys/bus/virtio/drivers/virtio_net/unbind
[ -e /sys/class/net/eth0 ] && echo STILL THERE
echo $device > /sys/bus/virtio/drivers/virtio_net/bind
ip addr add 172.31.7.2/24 dev eth0; ip link set eth0 up
done"#;
    let mut machine = start_with(2, folder.path(), &tap, &json!({"vhost": true, "queues": 2}), script);
    let console = machine.await_console("DONE");
    assert!(console.contains("queues rx-0 rx-1 tx-0 tx-1\n"), "{console}");
    assert_eq!(lines(&console, "0% packet loss"), 10, "{console}");
    assert!(!console.contains("STILL THERE"), "{console}");
    // The last driver is there, and serves the host, too.
    let ping = run(Command::new("ping").args(["-c", "3", "-i", "0.2", tap::GUEST]), Duration::from_secs(30));
    assert!(ping.stdout.contains(" 0% packet loss"), "{}", ping.stdout);
}

/// Pauses the machine, checks that its rings are left alone while the host sends, and lets it go on.
fn pause(machine: &Bare, tap: &tap::Tap) {
    machine.ask("PATCH", "/vm", &json!({"state": "Paused"}));
    let before = (count(tap, "tx_packets"), count(tap, "rx_packets"));
    // Three questions wait for the guest; none is answered, and none is put into its memory.
    let ping = ["-c", "3", "-i", "0.2", "-W", "1", tap::GUEST];
    let ping = run(Command::new("ping").args(ping), Duration::from_secs(30));
    assert!(ping.stdout.contains(" 100% packet loss"), "{}", ping.stdout);
    assert_eq!((count(tap, "tx_packets"), count(tap, "rx_packets")), before, "the kernel went on");
    machine.ask("PATCH", "/vm", &json!({"state": "Resumed"}));
}

#[test]
fn a_paused_machine_s_rings_are_left_alone_and_what_waited_goes_on() {
    let (folder, tap) = (folder(), tap::Tap::new("tap-held"));
    let sent = folder.path().join("sent");
    let urandom = format!("of={}", sent.display());
    let dd = ["if=/dev/urandom", &urandom, "bs=1M", "count=16"];
    let _ = run(Command::new("dd").args(dd), Duration::from_secs(60)).ok();
    let (from, to) = (format!("OPEN:{}", sent.display()), format!("TCP-LISTEN:7001,bind={}", tap::HOST));
    let mut giver = Command::new("socat").args(["-u", &from, &to]).spawn().expect("socat");
    let script = r#"
until ping -c 1 -W 1 172.31.7.1 >/dev/null; do :; done
nc 172.31.7.1 7001 </dev/null | while dd bs=256k count=1 iflag=fullblock 2>/dev/null >/tmp/part && [ -s /tmp/part ]; do
cat /tmp/part >>/tmp/whole; echo part; usleep 20000; done
echo "sum $(sha256sum </tmp/whole)""#;
    let mut machine = start(folder.path(), &tap, &json!({"vhost": true}), script);
    machine.await_console("part");
    for _ in 0..3 {
        pause(&machine, &tap);
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(!machine.console().contains("sum "), "the pauses came too late to be in the middle");
    let console = machine.await_console("DONE");
    let _ = giver.wait();
    let sum = run(Command::new("sha256sum").arg(&sent), Duration::from_secs(60)).ok();
    let sum = sum.stdout.split_whitespace().next().expect("a sum").to_owned();
    assert!(console.contains(&format!("sum {sum}")), "{sum}: {console}");
    // Idle, it hears what came while it stood still.
    pause(&machine, &tap);
    let ping = run(Command::new("ping").args(["-c", "3", "-i", "0.2", tap::GUEST]), Duration::from_secs(30));
    assert!(ping.stdout.contains(" 0% packet loss"), "{}", ping.stdout);
}

#[test]
fn what_the_kernel_cannot_do_is_refused() {
    let (folder, tap) = (folder(), tap::Tap::new("tap-refuse"));
    let machine = start(folder.path(), &tap, &json!({"vhost": true}), "");
    let limit = json!({"iface_id": "eth0", "tx_rate_limiter": {"ops": {"size": 1, "refill_time": 1}}});
    let (status, answer) = machine.api("PATCH", "/network-interfaces/eth0", &limit);
    let sentence = answer["fault_message"].as_str().unwrap_or_default();
    assert!(status == 400 && sentence.contains("vhost takes no rate limiter"), "{status} {answer}");
    drop(machine);

    let refused = |more: Value, word: &str| {
        let mut config = config();
        let mut interface = json!({"iface_id": "eth0", "host_dev_name": tap.name(), "vhost": true});
        interface.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        config["network-interfaces"] = json!([interface]);
        if word.contains("metadata") {
            config["mmds-config"] = json!({"network_interfaces": ["eth0"]});
        }
        let ended = boot(&config).process;
        assert!(ended.status != 0 && ended.stderr.contains(word), "{word}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    };
    refused(json!({"rx_rate_limiter": {"ops": {"size": 1, "refill_time": 1}}}), "takes no rate limiter");
    refused(json!({"backend": "passt", "host_dev_name": "/run/passt.sock"}), "not for passt");
    refused(json!({}), "The metadata service is for interfaces without vhost");
}

/// How many queues each drive has, which the network has, and whether the gateway answers.
const TELL: &str = r#"
for disk in /sys/block/vd*; do echo disk $(ls $disk/mq | wc -l); done
echo queues $(ls /sys/class/net/eth0/queues)
ping -c 3 $(ip route | sed -n 's/^default via \([0-9.]*\).*/\1/p') | grep -o '[0-9]*% packet loss'
echo TOLD; sleep 1000"#;

#[test]
fn a_container_s_machine_has_the_queues_that_were_asked_for_and_the_kernel_serves_them() {
    let before = Footprint::take();
    {
        let daemon = Daemon::start();
        let image = asset("busybox.img");
        let flags = ["--cpus", "2", "--net-vhost", "--net-queues", "2", "--io-queues", "2"];
        let run = [&["run", "-d", "--name", "many"], flags.as_slice(), &[&image, "sh", "-c", TELL]].concat();
        let _ = daemon.bulkhead(&run).ok();
        let console = await_log(&daemon, "TOLD", 1);
        assert_eq!(lines(&console, "disk 2"), 2, "the root and its layer: {console}");
        assert!(console.contains("queues rx-0 rx-1 tx-0 tx-1\n"), "{console}");
        assert_eq!(lines(&console, "0% packet loss"), 1, "{console}");
        let metrics = daemon.bulkhead(&["metrics"]).ok().stdout;
        let interrupts =
            metrics.lines().find(|line| line.contains("net_vhost_interrupts_total{")).expect("a figure");
        assert!(!interrupts.ends_with(" 0"), "{interrupts}");

        let limited = daemon.bulkhead(&["update", "--net-maxreceive", "1m", "many"]);
        assert!(limited.status != 0 && limited.stderr.contains("no rates with vhost"), "{}", limited.stderr);
        let _ = daemon.bulkhead(&["update", "--io-maxiops", "1000", "many"]).ok();
        let _ = daemon.bulkhead(&["stop", "-t", "1", "many"]).ok();
        let _ = daemon.bulkhead(&["start", "many"]).ok();
        let console = await_log(&daemon, "TOLD", 2);
        assert_eq!(lines(&console, "0% packet loss"), 2, "{console}");

        let plain = daemon
            .bulkhead(&[
                "run",
                "--rm",
                "--cpus",
                "2",
                &image,
                "sh",
                "-c",
                TELL.replace("sleep 1000", "").as_str(),
            ])
            .ok();
        assert_eq!(
            (lines(&plain.stdout, "disk 1"), lines(&plain.stdout, "queues rx-0 tx-0")),
            (2, 1),
            "{}",
            plain.stdout
        );
        for (flags, word) in [
            (&["--net-queues", "2"][..], "network_queues"),
            (&["--io-queues", "2"], "disk_queues"),
            (&["--net-vhost", "--net", "passt"], "passt has no tap"),
            (&["--net-vhost", "--net-maxtransmit", "1m"], "no rates with vhost"),
            (&["--cpus", "2", "--net-queues", "2", "--net", "passt"], "passt has one pair"),
        ] {
            let refused = daemon.bulkhead(&[&["run", "--rm"], flags, &[&image, "true"]].concat());
            assert!(refused.status == 125 && refused.stderr.contains(word), "{word}: {refused:?}");
        }
    }
    let left = Footprint::take().added_since(&before);
    assert!(left.is_empty(), "left over: {left:#?}");
}

/// Waits until the machine has printed a line so often; gives all that it has printed.
fn await_log(daemon: &Daemon, line: &str, times: usize) -> String {
    let end = Instant::now() + Duration::from_secs(90);
    loop {
        let log = daemon.bulkhead(&["logs", "many"]).ok().stdout;
        if lines(&log, line) >= times {
            return log;
        }
        assert!(Instant::now() < end, "no {line:?}: {log}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
