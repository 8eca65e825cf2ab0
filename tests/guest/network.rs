//! Addresses, published ports, the resolver, and the end of connections.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use bulkhead_tests::{Daemon, asset, run};

/// A service that answers each connection with one line.
const SERVICE: &str = "while true; do echo from the guest | nc -l -p 80; done";

fn ask(address: &str) -> std::io::Result<String> {
    let mut stream =
        TcpStream::connect_timeout(&address.parse().expect("an address"), Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn ask_until(address: &str) -> String {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        match ask(address) {
            Ok(text) if !text.is_empty() => return text,
            other => assert!(Instant::now() < end, "{address}: {other:?}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_published_port_answers_on_loopback_and_on_the_host_s_address() {
    let daemon = Daemon::start();
    let image = asset("busybox.img");
    let arguments = ["run", "-d", "--name", "web", "-p", "8080:80", &image, "sh", "-c", SERVICE];
    let _ = daemon.bulkhead(&arguments).ok();
    let host = run(Command::new("hostname").arg("-I"), Duration::from_secs(5)).ok();
    let host = host.text().split_whitespace().next().expect("the lab has an address").to_owned();
    for address in ["127.0.0.1:8080".to_owned(), format!("{host}:8080")] {
        assert_eq!(ask_until(&address), "from the guest\n", "{address}");
    }
    let taken = daemon.bulkhead(&["run", "-d", "-p", "8080:80", &image, "true"]);
    assert_ne!(taken.status, 0);
    assert!(taken.stderr.contains("8080"), "{}", taken.stderr);
}

#[test]
fn a_connection_ends_when_its_machine_is_killed() {
    let daemon = Daemon::start();
    let (image, service) = (asset("busybox.img"), "exec nc -ll -p 80 -e /bin/cat");
    let arguments = ["run", "-d", "--name", "echo", "-p", "8081:80", &image, "sh", "-c", service];
    let _ = daemon.bulkhead(&arguments).ok();
    let mut stream = (0..100)
        .find_map(|_| {
            let mut stream = TcpStream::connect("127.0.0.1:8081").ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
            stream.write_all(b"ping\n").ok()?;
            let mut word = [0; 5];
            let answered = stream.read_exact(&mut word).is_ok() && &word == b"ping\n";
            if !answered {
                std::thread::sleep(Duration::from_millis(100));
            }
            answered.then_some(stream)
        })
        .expect("an echo");
    let _ = daemon.bulkhead(&["kill", "echo"]).ok();
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        if stream.write_all(b"gone?\n").is_err() {
            break;
        }
        let mut word = [0; 6];
        match stream.read(&mut word) {
            Ok(0) => break,
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => break,
            _ => assert!(Instant::now() < end, "the connection lives on"),
        }
    }
}

#[test]
fn two_machines_reach_one_another_and_the_resolver_answers() {
    let daemon = Daemon::start();
    let image = asset("busybox.img");
    let _ = daemon.bulkhead(&["run", "-d", "--name", "one", &image, "sh", "-c", SERVICE]).ok();
    let machine = daemon.inspect("one");
    let address = machine["status"]["address"].as_str().expect("an address").to_owned();
    let script = format!(
        "for i in 1 2 3 4 5 6 7 8 9 10; do nc -w 2 {address} 80 && break; sleep 0.2; done; cat /etc/resolv.conf"
    );
    let run = daemon.bulkhead(&["run", "--rm", &image, "sh", "-c", &script]).ok();
    assert!(run.stdout.contains("from the guest"), "{}", run.stdout);
    assert!(run.stdout.contains("nameserver"), "{}", run.stdout);
}
