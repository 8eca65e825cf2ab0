//! Connections that a machine has when it is held are there when it goes on.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bulkhead_protocol::agent::PORT;
use bulkhead_tests::bare::{Bare, QUIET};
use bulkhead_tests::{Daemon, asset};
use serde_json::json;

const STILL: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);

/// Nothing comes within [`STILL`].
fn is_silent(answer: std::io::Result<usize>) -> bool {
    answer.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

#[test]
fn a_vsock_connection_outlives_a_pause() {
    let config = json!({
        "boot-source": {"kernel_image_path": asset("vmlinux"), "initrd_path": asset("initramfs"),
                        "boot_args": format!("{QUIET} bulkhead.mode=agent")},
        "machine-config": {"vcpu_count": 1, "mem_size_mib": 128},
        "vsock": {"guest_cid": 3, "uds_path": "v.sock"},
    });
    let mut machine = Bare::start(&config);
    machine.await_console("ready in");
    let mut stream = UnixStream::connect(machine.path("v.sock")).expect("the machine's socket");
    stream.write_all(format!("CONNECT {PORT}\n").as_bytes()).expect("a greeting");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let mut greeting = [0; 64];
    let length = stream.read(&mut greeting).expect("an answer to the greeting");
    assert!(greeting[..length].starts_with(b"OK "));

    machine.ask("PATCH", "/vm", &json!({"state": "Paused"}));
    stream.write_all(b"GET /v1/ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("a request");
    stream.set_read_timeout(Some(STILL)).expect("a time-out");
    assert!(is_silent(stream.read(&mut [0; 1])));
    machine.ask("PATCH", "/vm", &json!({"state": "Resumed"}));
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.contains("200 OK") && answer.contains("boot_id"), "{answer}");
}

#[test]
fn a_tcp_connection_outlives_a_pause() {
    let daemon = Daemon::start();
    let (image, service) = (asset("busybox.img"), "exec nc -ll -p 80 -e /bin/cat");
    let arguments = ["run", "-d", "--name", "echo", "-p", "8082:80", &image, "sh", "-c", service];
    let _ = daemon.bulkhead(&arguments).ok();
    let mut word = [0; 5];
    let mut stream = (0..100)
        .find_map(|_| {
            std::thread::sleep(Duration::from_millis(100));
            let mut stream = TcpStream::connect("127.0.0.1:8082").ok()?;
            stream.set_read_timeout(Some(PATIENCE)).ok()?;
            stream.write_all(b"ping\n").ok()?;
            (stream.read_exact(&mut word).is_ok() && &word == b"ping\n").then_some(stream)
        })
        .expect("an echo");
    let _ = daemon.bulkhead(&["pause", "echo"]).ok();
    stream.write_all(b"held\n").expect("a word");
    stream.set_read_timeout(Some(STILL)).expect("a time-out");
    assert!(is_silent(stream.read(&mut [0; 1])));
    let _ = daemon.bulkhead(&["unpause", "echo"]).ok();
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream.read_exact(&mut word).expect("an echo");
    assert_eq!(&word, b"held\n");
}
