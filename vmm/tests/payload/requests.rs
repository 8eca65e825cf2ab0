//! Requests that nobody should send, to a machine that runs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vmm_sys_util::sock_ctrl_msg::ScmSocket;

use crate::code::Code;
use crate::run::{Running, start};

const PATIENCE: Duration = Duration::from_secs(30);

fn machine() -> Running {
    let config = json!({
        "drives": [{"drive_id": "d", "is_root_device": false, "path_on_host": "kernel", "is_read_only": true}],
        "pmem": [{"id": "p", "path_on_host": "kernel", "read_only": true}],
        "entropy": {},
        "vsock": {"guest_cid": 3, "uds_path": "v.sock"},
        "balloon": {"amount_mib": 0, "deflate_on_oom": false, "stats_polling_interval_s": 1},
    });
    let running = start(&Code::default().print("up\n").halt().pvh(), config);
    running.await_console("up");
    // The first request makes what all have in common.
    assert_eq!(running.api("GET", "/", Value::Null).0, 200);
    // Its connection may be open for a moment still; the API's and vsock's sockets stay.
    let start = Instant::now();
    while socket_names(&running).len() != 2 {
        assert!(start.elapsed() < PATIENCE, "{:#?}", socket_names(&running));
        std::thread::sleep(Duration::from_millis(5));
    }
    running
}

/// The names of a machine's sockets that have one, sorted; a connection has the name of the socket that it came to.
/// (A pair without a name is the business of the libraries that the tests are built with.)
fn socket_names(running: &Running) -> Vec<String> {
    let table = std::fs::read_to_string(format!("/proc/{}/net/unix", running.child.id())).unwrap();
    let open = running.descriptors();
    let inodes = open.values().filter_map(|target| target.strip_prefix("socket:[")?.strip_suffix(']'));
    // Num, RefCount, Protocol, Flags, Type, St, Inode, Path.
    let line = |inode: &str| table.lines().find(|line| line.split_whitespace().nth(6) == Some(inode));
    let mut names: Vec<String> =
        inodes.filter_map(|inode| Some(line(inode)?.split_whitespace().nth(7)?.to_owned())).collect();
    names.sort_unstable();
    names
}

/// Requests that leave a machine's descriptors as they are, whatever their answer.
fn requests() -> Vec<Vec<u8>> {
    let cases = [
        ("GET", "/", Value::Null),
        ("GET", "/vm/config", Value::Null),
        ("PATCH", "/vm", json!({"state": "Resumed"})),
        ("PATCH", "/drives/d", json!({"drive_id": "d", "path_on_host": "kernel"})),
        ("PATCH", "/drives/d", json!({"drive_id": "d", "path_on_host": "/proc/self/fd/3"})),
        ("PATCH", "/pmem/p", json!({"id": "p", "rate_limiter": {"ops": {"size": 1, "refill_time": 1}}})),
        ("PATCH", "/balloon", json!({"amount_mib": 1})),
        ("PUT", "/drives/d", json!({"drive_id": "d", "is_root_device": false, "path_on_host": "kernel"})),
        ("PUT", "/network-interfaces/n", json!({"iface_id": "n", "host_dev_name": "no-such-tap"})),
        ("PUT", "/vsock", json!({"guest_cid": 4, "uds_path": "w.sock"})),
        ("PUT", "/mmds", json!({"a": [1, -1, 1.5, null, "\u{1f980}"]})),
        ("PUT", "/actions", json!({"action_type": "InstanceStart"})),
        ("PUT", "/snapshot/load", json!({"snapshot_path": "/etc/passwd", "mem_file_path": "kernel"})),
    ];
    let text = |(method, path, body): (&str, &str, Value)| {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let length = body.len();
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
    };
    cases.into_iter().map(text).collect()
}

/// Changes, cuts or repeats what `chance` chooses.
fn mutate(mut request: Vec<u8>, chance: u64) -> Vec<u8> {
    let place = (chance >> 8) as usize % request.len();
    match chance % 6 {
        0 => request[place] ^= 1 << (chance >> 32 & 7),
        1 => request[place] = (chance >> 32) as u8,
        2 => request.truncate(place),
        3 => drop(request.splice(place..place, vec![b'9'; (chance >> 32 & 0xfff) as usize])),
        4 => request = [&request[..], &request[..place]].concat(),
        _ => {}
    }
    request
}

/// Sends `bytes`, with `files` beside them, and takes whatever comes back.
fn send(running: &Running, bytes: &[u8], files: &[&File]) {
    let mut stream = UnixStream::connect(running.path("api.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let (first, rest) = bytes.split_at(bytes.len().min(7));
    let files: Vec<_> = files.iter().map(|file| file.as_raw_fd()).collect();
    if stream.send_with_fds(&[first], &files).is_ok() {
        // The server may answer and hang up before it has read everything.
        let _ = stream.write_all(rest);
    }
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn no_request_opens_or_closes_descriptors_not_even_with_some_attached() {
    let running = machine();
    let before = running.descriptors();
    let file = File::open(running.path("kernel")).unwrap();
    let (null, mut seed) = (File::open("/dev/null").unwrap(), 0x9e37_79b9_7f4a_7c15_u64);
    let requests = requests();
    let mut resident = 0;
    for round in 0..4000_usize {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let request = mutate(requests[round % requests.len()].clone(), seed);
        send(&running, &request, [&[][..], &[&file], &[&null; 40]][round % 3]);
        if round == 1000 {
            resident = running.resident();
        }
    }
    assert!(running.resident() < resident + 2048, "{resident} KiB, then {} KiB", running.resident());
    assert_eq!(running.api("GET", "/", Value::Null).1["state"], "Running");
    let start = Instant::now();
    // A drive whose file is opened anew has it by another number.
    let settled = |(number, target): (&String, &String)| {
        (if target.ends_with("kernel") { String::new() } else { number.clone() }, target.clone())
    };
    let sorted = |open: &BTreeMap<String, String>| {
        let mut open: Vec<_> = open.iter().map(settled).collect();
        open.sort();
        open
    };
    while sorted(&running.descriptors()) != sorted(&before) {
        assert!(start.elapsed() < PATIENCE, "{before:#?}, then {:#?}", running.descriptors());
        std::thread::sleep(Duration::from_millis(10));
    }
    running.signal("TERM");
    assert_eq!(running.wait().status, Some(143));
}

#[test]
fn every_socket_is_a_private_file_and_none_is_abstract() {
    let running = machine();
    let names = socket_names(&running);
    assert_eq!(names, ["api.sock", "v.sock"]);
    for name in names {
        let mode = std::fs::metadata(running.path(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    running.signal("TERM");
    running.wait();
}

#[test]
fn a_file_that_may_not_grow_further_ends_nobody() {
    let running = machine();
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.child.id())).unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    // SIGXFSZ is 25.
    assert_ne!(u64::from_str_radix(ignored.trim(), 16).unwrap() & 1 << 24, 0, "{ignored}");
    running.signal("TERM");
    running.wait();
}
