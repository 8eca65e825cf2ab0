//! Machines with a network and without a privilege.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::{Duration, Instant};

use bulkhead_tests::{Daemon, Footprint, asset, run};

/// The lab's own address.
const HOST: &str = "192.0.2.10";

/// Gives these bytes to everybody who connects to the address, from a thread; answers the port.
fn serve(address: &str, bytes: Vec<u8>) -> u16 {
    let listener = TcpListener::bind((address, 0)).expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = (&stream).write_all(&bytes);
        }
    });
    port
}

/// What a shell on the host prints.
fn host(script: &str) -> String {
    run(Command::new("sh").args(["-c", script]), Duration::from_secs(40)).text().to_owned()
}

/// The MD5 sum of what the machine `web` serves at this address; of nothing when it does not answer.
fn fetch(address: &str) -> String {
    host(&format!("curl -s --max-time 30 --retry 20 --retry-all-errors http://{address}/busybox | md5sum"))
}

fn passts() -> Vec<String> {
    host("pgrep -x 'passt(.avx2)?'").lines().map(str::to_owned).collect()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < end, "{what} in 30 s");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_user_without_privileges_publishes_reaches_out_and_leaves_nothing() {
    let before = Footprint::take();
    let bytes: Vec<u8> =
        (0..3_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (outside, inside) = (serve(HOST, bytes.clone()), serve("127.0.0.1", b"the host's loopback".to_vec()));
    {
        let mut daemon = Daemon::start_as_a_user();
        let image = asset("busybox.img");
        let bridge = daemon.bulkhead(&["run", "--rm", &image, "true"]);
        assert_eq!(bridge.status, 125);
        assert!(bridge.stderr.contains("Only root can make the machines' bridge"), "{}", bridge.stderr);

        let web = ["run", "-d", "--name", "web", "--net", "passt", "-p", "8090:80", &image];
        let _ = daemon.bulkhead(&[&web[..], &["httpd", "-f", "-p", "80", "-h", "/bin"]].concat()).ok();
        // Out of the guest, by a port; into it; and where passt would find the host's loopback. The guest's side
        // stays open: the passt of 2023 gives a side that is half closed no more than a window.
        let script = format!(
            "md5sum </bin/busybox; mkfifo /tmp/open; nc {HOST} {outside} <>/tmp/open | md5sum; \
             nc -w 2 172.30.0.1 {inside} || echo closed; cat /sys/class/net/eth0/mtu"
        );
        let out = daemon.bulkhead(&["run", "--rm", "--net", "passt", &image, "sh", "-c", &script]).ok();
        let said: Vec<&str> = out.stdout.lines().collect();
        for address in ["127.0.0.1:8090".to_owned(), format!("{HOST}:8090")] {
            assert_eq!(fetch(&address), said[0], "{address}");
        }
        let file = daemon.path("bytes");
        fs::write(&file, bytes).expect("a file");
        assert_eq!(said[1..], [&host(&format!("md5sum <{}", file.display())), "closed", "65520"]);

        let machine = daemon.inspect("web");
        assert!(machine["status"]["address"].is_null());
        for pid in passts().into_iter().chain([machine["status"]["pid"].to_string()]) {
            assert_ne!(fs::metadata(format!("/proc/{pid}")).expect("a process").uid(), 0, "{pid} is root's");
        }

        // A daemon's crash is no machine's.
        daemon.crash();
        assert_eq!(fetch("127.0.0.1:8090"), said[0]);
        daemon.serve();
        let taken = daemon.bulkhead(&["run", "-d", "--net", "passt", "-p", "8090:80", &image, "true"]);
        assert!(taken.stderr.contains("8090"), "{}", taken.stderr);

        // The machine lives on without its network, and says so.
        let killed = passts();
        assert_eq!(killed.len(), 1, "{killed:?}");
        host(&format!("kill -9 {}", killed[0]));
        until("an event", || daemon.bulkhead(&["events", "--no-follow"]).stdout.contains("network-lost"));
        assert_eq!(host("curl -s --max-time 2 http://127.0.0.1:8090/ || echo gone"), "gone");
        assert_eq!(daemon.inspect("web")["status"]["phase"], "running");
        let _ = daemon.bulkhead(&["rm", "--force", "web"]).ok();
        assert!(passts().is_empty());
    }
    let left = Footprint::take().added_since(&before);
    assert!(left.is_empty(), "left over: {left:#?}");
}

#[test]
fn root_may_have_it_too_and_passt_is_nobody_s() {
    let before = Footprint::take();
    {
        let daemon = Daemon::start();
        let image = asset("busybox.img");
        let web = ["run", "-d", "--name", "web", "--net", "passt", "-p", "127.0.0.1:81:80", &image];
        let _ = daemon.bulkhead(&[&web[..], &["httpd", "-f", "-p", "80", "-h", "/bin"]].concat()).ok();
        assert!(
            host("curl -s --max-time 30 --retry 20 --retry-all-errors http://127.0.0.1:81/busybox | wc -c")
                .len()
                > 5
        );
        assert_eq!(host(&format!("curl -s --max-time 2 http://{HOST}:81/ || echo closed")), "closed");
        let passts = passts();
        assert_eq!(passts.len(), 1, "{passts:?}");
        assert_eq!(fs::metadata(format!("/proc/{}", passts[0])).expect("a process").uid(), 65534);
        let _ = daemon.bulkhead(&["kill", "web"]).ok();
        let _ = daemon.bulkhead(&["wait", "web"]).ok();
        assert!(self::passts().is_empty());
    }
    let left = Footprint::take().added_since(&before);
    assert!(left.is_empty(), "left over: {left:#?}");
}
