//! Streams between host and guest: many, half-closed, with sides that do not read, do not stay, or are cut off.
//! The guest's half is `vsock.py`.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use bulkhead_tests::bare::{Bare, QUIET, boot};
use bulkhead_tests::{asset, programs, root};
use serde_json::{Value, json};

/// How long anything may take in an emulated lab.
const PATIENCE: Duration = Duration::from_secs(120);
/// Connections there may be at once (SPECIFICATION.md).
const MOST: usize = 512;

struct Guest {
    machine: Bare,
    folder: tempfile::TempDir,
}

impl Guest {
    fn start() -> Self {
        let folder =
            tempfile::Builder::new().prefix("bulkhead-vsock-").tempdir().expect("a temporary folder");
        programs::add_python(folder.path(), None, "import os, socket, threading");
        std::fs::write(folder.path().join("root/program.py"), include_str!("vsock.py")).expect("a program");
        let script = "ulimit -n 4096; /usr/bin/python3 -S /program.py; echo OVER; poweroff -f";
        let initramfs = root::with_modules(folder.path(), script);
        let sections = json!({
            "vsock": {"guest_cid": 3, "uds_path": folder.path().join("v")},
            "machine-config": {"vcpu_count": 1, "mem_size_mib": 256},
            "metrics": {"metrics_path": folder.path().join("metrics")},
        });
        let machine = Bare::start(&boot(&asset("vmlinux"), &initramfs, QUIET, sections));
        let mut guest = Self { machine, folder };
        guest.machine.await_console("SERVING");
        guest
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("v")
    }

    fn dial(&self, port: u32) -> UnixStream {
        dial(&self.path(), port).expect("the guest to answer")
    }

    /// Has the guest do something; gives its answer when it has.
    fn command(&self, words: &str) -> thread::JoinHandle<String> {
        let mut stream = self.dial(5100);
        stream.write_all(format!("{words}\n").as_bytes()).expect("a command");
        thread::spawn(move || {
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("an answer");
            answer.trim().to_owned()
        })
    }

    fn listen(&self, port: u32) -> UnixListener {
        UnixListener::bind(self.folder.path().join(format!("v_{port}"))).expect("a socket")
    }

    fn metrics(&self) -> Value {
        self.machine.counted(&self.folder.path().join("metrics"), "vsock")
    }
}

/// Connects to a port of the guest; none if it is refused.
fn dial(path: &PathBuf, port: u32) -> Option<UnixStream> {
    let mut stream = UnixStream::connect(path).expect("the socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream.set_write_timeout(Some(PATIENCE)).expect("a time-out");
    stream.write_all(format!("CONNECT {port}\n").as_bytes()).expect("a greeting");
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        line.push(byte[0]);
    }
    assert!(line.starts_with(b"OK "), "{line:?}");
    Some(stream)
}

/// As `pattern` of vsock.py.
fn pattern(index: usize, size: usize) -> Vec<u8> {
    let once: Vec<u8> = (0..1000).map(|i| ((index * 7 + i * 31) >> 3) as u8).collect();
    once.repeat(size / 1000)
}

/// Sends everything, says that this was all, and reads what comes back.
fn exchange(mut stream: UnixStream, data: &[u8]) -> Vec<u8> {
    stream.write_all(data).expect("written");
    stream.shutdown(Shutdown::Write).expect("half-closed");
    read_all(stream)
}

fn read_all(mut stream: UnixStream) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("read");
    all
}

#[test]
fn a_hundred_connections_each_way_carry_their_data_at_once() {
    let guest = Guest::start();
    let listener = guest.listen(6000);
    let theirs = guest.command("hundred 6000");
    let ours: Vec<UnixStream> = (0..100).map(|_| guest.dial(5000)).collect();
    // The guest sends, and says that it is done; then everything goes back to it.
    let back = thread::spawn(move || {
        let streams: Vec<UnixStream> = (0..100).map(|_| listener.accept().expect("a connection").0).collect();
        let threads = streams.into_iter().map(|stream| {
            thread::spawn(move || {
                let all = read_all(stream.try_clone().expect("a second handle"));
                (&stream).write_all(&all).expect("written");
            })
        });
        threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().expect("no panic"));
    });
    let talks = ours.into_iter().enumerate().map(|(index, stream)| {
        thread::spawn(move || assert!(exchange(stream, &pattern(index, 60_000)) == pattern(index, 60_000)))
    });
    talks.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().expect("the right data"));
    back.join().expect("no panic");
    assert_eq!(theirs.join().expect("no panic"), "100");
    let metrics = guest.metrics();
    assert_eq!(metrics["conns_added"], 201, "{metrics}");
    assert!(metrics["rx_bytes_count"].as_u64() > Some(12_000_000), "{metrics}");
    assert!(metrics["tx_bytes_count"].as_u64() > Some(12_000_000), "{metrics}");
}

#[test]
fn sides_that_do_not_read_or_do_not_stay_hurt_nobody_else() {
    let mut guest = Guest::start();
    let listener = guest.listen(6001);
    let small = pattern(1, 3000);
    // The host does not read.
    let flooded = guest.command("flood 6001");
    let (stream, _) = listener.accept().expect("a connection");
    // The guest does not read.
    let sleepy = guest.dial(5001);
    let large = pattern(2, 1_000_000);
    let flooding = thread::spawn(move || exchange(sleepy, &pattern(2, 1_000_000)) == large);
    for _ in 0..5 {
        assert!(exchange(guest.dial(5000), &small) == small);
        thread::sleep(Duration::from_millis(200));
    }
    assert!(!flooded.is_finished() && !flooding.is_finished());
    assert_eq!(guest.command("wake").join().expect("no panic"), "none");
    assert!(flooding.join().expect("no panic"), "host to guest");
    let all = read_all(stream.try_clone().expect("a second handle"));
    assert!(all == pattern(5, 1_000_000), "guest to host");
    (&stream).write_all(b"thanks").expect("written");
    drop(stream);
    assert_eq!(flooded.join().expect("no panic"), "6");

    // The host leaves in the middle.
    let mut endless = guest.dial(5003);
    endless.read_exact(&mut [0; 100_000]).expect("data");
    drop(endless);
    guest.machine.await_console("ENDLESS");
    assert!(exchange(guest.dial(5000), &small) == small);
}

#[test]
fn a_storm_of_connections_is_refused_beyond_the_limit_and_passes() {
    let guest = Guest::start();
    let listener = guest.listen(6003);
    let storm = guest.command("storm 6003");
    // Ends with the one that is connected below.
    let held = thread::spawn(move || {
        let streams = std::iter::from_fn(|| listener.accept().ok().map(|(stream, _)| stream));
        streams.take(MOST).collect::<Vec<_>>().len()
    });
    let answer = storm.join().expect("no panic");
    let _last = UnixStream::connect(guest.folder.path().join("v_6003")).expect("the listener");
    // One is the command's own.
    assert_eq!(answer, format!("{} {}", MOST - 1, 600 - (MOST - 1)));
    assert_eq!(held.join().expect("no panic"), MOST);
    assert_eq!(guest.metrics()["conns_refused"], 600 - (MOST - 1) as u64);
    // From the host, to where nobody accepts more than some: what is too much is closed without an answer.
    let path = guest.path();
    let dials: Vec<_> = (0..100)
        .map(|_| {
            let path = path.clone();
            thread::spawn(move || dial(&path, 5000).is_some())
        })
        .collect();
    let answered = dials.into_iter().filter_map(|dial| dial.join().ok()).filter(|answered| *answered).count();
    assert_eq!(answered, 100, "a hundred at once are not too many");
    assert!(exchange(guest.dial(5000), &pattern(3, 3000)) == pattern(3, 3000));
}

#[test]
fn what_a_guest_writes_before_it_powers_off_arrives() {
    for _ in 0..3 {
        let guest = Guest::start();
        let listener = guest.listen(6004);
        let _ending = guest.command("end 6004");
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut first = [0; 1];
        stream.read_exact(&mut first).expect("a byte");
        // Long enough for the guest to be gone.
        thread::sleep(Duration::from_secs(1));
        let rest = read_all(stream);
        assert_eq!(rest.len() + 1, 250_000);
        assert!([first.as_slice(), &rest].concat() == pattern(9, 250_000));
        assert_eq!(guest.machine.wait().0, Some(0));
    }
}
