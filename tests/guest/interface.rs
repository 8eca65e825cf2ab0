//! A network interface of a bare machine: what goes through it, how fast, and how that changes.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bulkhead_tests::bare::{Bare, QUIET, boot};
use bulkhead_tests::{asset, programs, root, run, tap};
use serde_json::{Value, json};

const IPERF: &str = "/usr/bin/iperf3";

/// A folder for a test of interfaces.
pub fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("bulkhead-net-").tempdir().expect("a temporary folder")
}

/// A machine with one processor whose interface `eth0` is on `tap`; `script` runs when it is up.
pub fn start(folder: &Path, tap: &tap::Tap, interface: &Value, script: &str) -> Bare {
    start_with(1, folder, tap, interface, script)
}

/// The same with so many processors.
pub fn start_with(vcpus: u8, folder: &Path, tap: &tap::Tap, interface: &Value, script: &str) -> Bare {
    let script = format!("{}\n{script}\necho DONE; sleep 1000", tap::UP);
    let initramfs = root::with_modules(folder, &script);
    let mut interface = interface.clone();
    interface["iface_id"] = json!("eth0");
    interface["host_dev_name"] = json!(tap.name());
    let sections = json!({
        "network-interfaces": [interface],
        "machine-config": {"vcpu_count": vcpus, "mem_size_mib": 256},
        "metrics": {"metrics_path": folder.join("metrics")},
    });
    Bare::start(&boot(&asset("vmlinux"), &initramfs, QUIET, sections))
}

/// A server on the host that ends with this.
struct Server(Child);

impl Server {
    fn start(program: &str, arguments: &[&str]) -> Self {
        let child = Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Self(child.expect("a server"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends random bytes both ways by TCP through an interface with an MTU and an address, and more besides, on a tap of
/// that name; nothing may be lost or changed. Gives what the machine has counted of it.
pub fn both_ways(tap: &'static str, more: &Value) -> Value {
    let (folder, tap) = (folder(), tap::Tap::new(tap));
    programs::add(folder.path(), &[IPERF]);
    let _iperf = Server::start(IPERF, &["-s", "-B", tap::HOST]);
    let sent = folder.path().join("sent");
    let urandom = format!("of={}", sent.display());
    let _ = run(
        Command::new("dd").args(["if=/dev/urandom", &urandom, "bs=1M", "count=8"]),
        Duration::from_secs(60),
    )
    .ok();
    let (give, take) = (format!("OPEN:{}", sent.display()), folder.path().join("taken"));
    let listen = |port: u16| format!("TCP-LISTEN:{port},bind={},reuseaddr", tap::HOST);
    let _giver = Server::start("socat", &["-u", &give, &listen(7001)]);
    let taker = format!("OPEN:{},creat", take.display());
    let _taker = Server::start("socat", &["-u", &listen(7002), &taker]);
    let script = r#"
echo "mtu $(cat /sys/class/net/eth0/mtu) mac $(cat /sys/class/net/eth0/address)"
until ping -c 1 -W 1 172.31.7.1 >/dev/null; do :; done
ping -c 5 -i 0.2 172.31.7.1 | grep -o '[0-9]*% packet loss'
nc 172.31.7.1 7001 </dev/null >/tmp/a; echo "sum $(sha256sum </tmp/a)"
nc 172.31.7.1 7002 </tmp/a; echo SENT
for way in "" -R; do
iperf3 -c 172.31.7.1 -t 5 -J $way > /tmp/json; grep -c '"error"' /tmp/json; grep bits_per_second /tmp/json | tail -n 1
done"#;
    let mut interface = json!({"mtu": 1400, "guest_mac": "06:00:00:00:00:07"});
    interface.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let mut machine = start(folder.path(), &tap, &interface, script);
    let console = machine.await_console("DONE");
    eprintln!("{console}");
    assert!(console.contains("mtu 1400 mac 06:00:00:00:00:07\n"), "{console}");
    assert!(console.contains("\n0% packet loss\n"), "{console}");
    let sum = run(Command::new("sha256sum").arg(&sent), Duration::from_secs(60)).ok();
    let sum = sum.stdout.split_whitespace().next().expect("a sum").to_owned();
    assert!(console.contains(&format!("sum {sum}")), "{sum}: {console}");
    let same = run(Command::new("cmp").arg(&sent).arg(&take), Duration::from_secs(60));
    assert_eq!(same.status, 0, "{}{}", same.stdout, same.stderr);
    let ping = run(Command::new("ping").args(["-c", "3", "-i", "0.2", tap::GUEST]), Duration::from_secs(30));
    assert!(ping.stdout.contains(" 0% packet loss"), "{}", ping.stdout);
    assert_eq!(console.matches("bits_per_second").count(), 2, "{console}");
    machine.counted(&folder.path().join("metrics"), "net_eth0")
}

#[test]
fn what_is_sent_arrives_both_ways() {
    let net = both_ways("tap-both", &json!({}));
    assert!(net["tx_bytes_count"].as_u64() > Some(8 << 20), "{net}");
    assert!(net["rx_bytes_count"].as_u64() > Some(8 << 20), "{net}");
    assert_eq!((&net["tx_malformed_frames"], &net["tx_spoofed_mac_count"]), (&json!(0), &json!(0)), "{net}");
}

#[test]
fn a_guest_finds_the_queues_that_were_asked_for() {
    let (folder, tap) = (folder(), tap::Tap::with_queues("tap-many"));
    let script = r#"
echo queues $(ls /sys/class/net/eth0/queues)
until ping -c 1 -W 1 172.31.7.1 >/dev/null; do :; done
for cpu in 1 2; do taskset $cpu ping -c 3 -i 0.2 172.31.7.1 | grep -o '[0-9]*% packet loss'; done"#;
    let mut machine = start_with(2, folder.path(), &tap, &json!({"queues": 2}), script);
    let console = machine.await_console("DONE");
    assert!(console.contains("queues rx-0 rx-1 tx-0 tx-1\n"), "{console}");
    let whole = console.lines().filter(|line| line.trim_end() == "0% packet loss").count();
    assert_eq!(whole, 2, "{console}");
}

#[test]
fn limits_hold_over_a_minute_and_change_while_it_runs() {
    let (folder, tap) = (folder(), tap::Tap::new("tap-slow"));
    programs::add(folder.path(), &[IPERF]);
    // A server serves one after the other, and may take a while to see that a client has gone.
    let server = |port: &str| Server::start(IPERF, &["-s", "-B", tap::HOST, "-p", port]);
    let _servers = ["5201", "5202", "5203"].map(server);
    // Four streams, so that one of them always has something to send. One direction after the other: the
    // acknowledgements of a stream would wait behind the other one's segments. Counted as the device does: whole
    // frames.
    let script = r#"
tell() { cd /sys/class/net/eth0/statistics; echo "$1 $(cut -d ' ' -f 1 /proc/uptime) $(cat tx_bytes) $(cat rx_bytes)"; }
until ping -c 1 -W 1 172.31.7.1 >/dev/null; do :; done
iperf3 -c 172.31.7.1 -p 5201 -P 4 -t 1000 >/dev/null 2>&1 & client=$!
sleep 5; tell sending; sleep 60; tell sent; kill $client
iperf3 -c 172.31.7.1 -p 5202 -P 4 -t 1000 -R >/dev/null 2>&1 & client=$!
sleep 5; tell receiving; sleep 60; tell received; kill $client
iperf3 -c 172.31.7.1 -p 5203 -t 1000 >/dev/null 2>&1 &
while tell later; do sleep 1; done"#;
    let rate = |bytes: u64| json!({"bandwidth": {"size": bytes / 2, "refill_time": 500}});
    let (sends, receives) = (1_000_000, 1_000_000);
    let interface = json!({"tx_rate_limiter": rate(sends), "rx_rate_limiter": rate(receives)});
    let mut machine = start(folder.path(), &tap, &interface, script);
    machine.await_console("sent ");
    let console = machine.await_console("later ");
    let counts = |console: &str, word: &str| -> [f64; 3] {
        let line = console.lines().rev().find(|line| line.starts_with(word)).expect(word);
        let numbers: Vec<f64> = line.split(' ').skip(1).map(|word| word.parse().expect("a number")).collect();
        numbers.try_into().expect("three numbers")
    };
    let share = |from: &str, to: &str, which: usize, allowed: u64| {
        let (from, to) = (counts(&console, from), counts(&console, to));
        (to[which] - from[which]) / (to[0] - from[0]) / allowed as f64
    };
    let (sends, receives) = (share("sending", "sent", 1, sends), share("receiving", "received", 2, receives));
    eprintln!("of what was allowed, the guest sent {sends:.3} and received {receives:.3}");
    let net = machine.counted(&folder.path().join("metrics"), "net_eth0");
    assert!(
        (sends - 1.0).abs() < 0.05 && (receives - 1.0).abs() < 0.05,
        "{sends} {receives}: {console} {net}"
    );
    assert!(net["tx_rate_limiter_throttled"].as_u64() > Some(100), "{net}");
    assert!(net["rx_rate_limiter_throttled"].as_u64() > Some(100), "{net}");

    let free = json!({"bandwidth": {"size": 0, "refill_time": 0}});
    let change = json!({"iface_id": "eth0", "tx_rate_limiter": free, "rx_rate_limiter": rate(2_000_000)});
    machine.ask("PATCH", "/network-interfaces/eth0", &change);
    let config = machine.api("GET", "/vm/config", &Value::Null).1;
    assert_eq!(config["network-interfaces"][0]["rx_rate_limiter"]["bandwidth"]["size"], 1_000_000);
    std::thread::sleep(Duration::from_secs(2));
    let [start, sent, _] = counts(&machine.console(), "later");
    std::thread::sleep(Duration::from_secs(10));
    let [end, sent_later, _] = counts(&machine.console(), "later");
    let freed = (sent_later - sent) / (end - start);
    assert!(freed > 2_000_000.0, "{freed} bytes a second without limits");
    let unknown = machine.api("PATCH", "/network-interfaces/eth9", &json!({"iface_id": "eth9"}));
    assert_eq!(unknown.0, 400);
}
