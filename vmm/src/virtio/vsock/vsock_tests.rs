use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use virtio_drivers::device::socket::{
    DisconnectReason, VirtIOSocket, VsockAddr, VsockConnectionManager, VsockEvent, VsockEventType,
};
use vm_memory::{Bytes, GuestAddress};

use super::super::muxer::CONNECTIONS_MAX;
use super::super::packet::{HEADER_SIZE, HOST_CID, Header, SHUTDOWN_SEND, TYPE_STREAM, operation};
use crate::virtio::driver::{ArenaHal, Buffer, Hostile, Machine, NEXT, WRITE, Window, wait_for};
use crate::virtio::features::COMMON;
use crate::virtio::vsock::VsockDevice;
use crate::virtio::vsock::device::VsockError;

const CID: u32 = 7;
const HOST: u64 = HOST_CID;

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("v.sock");
    (folder, path)
}

fn device(path: &Path) -> VsockDevice {
    VsockDevice::new("vsock", CID, path.to_owned(), Arc::default()).unwrap()
}

/// A program of the host with short patience.
fn dial(path: &Path, port: u32) -> UnixStream {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(format!("CONNECT {port}\n").as_bytes()).unwrap();
    stream
}

fn read_line(stream: &mut UnixStream) -> String {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

type Sockets = VsockConnectionManager<ArenaHal, Window>;

fn sockets(machine: &Machine, path: &Path) -> Sockets {
    let driver = VirtIOSocket::new(machine.window(device(path))).unwrap();
    VsockConnectionManager::new_with_capacity(driver, 16 * 1024)
}

fn next_event(sockets: &mut Sockets) -> VsockEvent {
    let mut event = None;
    wait_for("a vsock event", || {
        event = sockets.poll().unwrap();
        event.is_some()
    });
    event.unwrap()
}

#[test]
fn host_reaches_a_strangers_driver_and_gets_its_echo() {
    let (machine, (_folder, path)) = (Machine::new(), folder());
    let mut sockets = sockets(&machine, &path);
    assert_eq!(sockets.guest_cid(), u64::from(CID));
    sockets.listen(52);
    let mut host = dial(&path, 52);
    // What follows the line belongs to the guest.
    host.write_all(b"early").unwrap();
    let request = next_event(&mut sockets);
    assert_eq!(request.event_type, VsockEventType::ConnectionRequest);
    assert_eq!((request.source.cid, request.destination.port), (HOST, 52));
    assert_eq!(read_line(&mut host), format!("OK {}\n", request.source.port));

    let received = next_event(&mut sockets);
    assert_eq!(received.event_type, VsockEventType::Received { length: 5 });
    let mut data = [0; 16];
    assert_eq!(sockets.recv(request.source, 52, &mut data).unwrap(), 5);
    sockets.send(request.source, 52, &data[..5]).unwrap();
    let mut echo = [0; 5];
    host.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"early");

    drop(host);
    let end = next_event(&mut sockets);
    assert_eq!(end.event_type, VsockEventType::Disconnected { reason: DisconnectReason::Shutdown });
}

#[test]
fn guest_reaches_sockets_of_the_host_by_port() {
    let (machine, (_folder, path)) = (Machine::new(), folder());
    let listener = UnixListener::bind(format!("{}_1234", path.display())).unwrap();
    let mut sockets = sockets(&machine, &path);
    let host = VsockAddr { cid: HOST, port: 1234 };
    sockets.connect(host, 99).unwrap();
    assert_eq!(next_event(&mut sockets).event_type, VsockEventType::Connected);
    let (mut stream, _) = listener.accept().unwrap();
    sockets.send(host, 99, b"ping").unwrap();
    let mut data = [0; 4];
    stream.read_exact(&mut data).unwrap();
    assert_eq!(&data, b"ping");
    stream.write_all(b"pong").unwrap();
    assert_eq!(next_event(&mut sockets).event_type, VsockEventType::Received { length: 4 });
    sockets.shutdown(host, 99).unwrap();
    assert_eq!(stream.read(&mut data).unwrap(), 0);
    let end = next_event(&mut sockets);
    assert_eq!(end.event_type, VsockEventType::Disconnected { reason: DisconnectReason::Reset });
}

#[test]
fn nobody_there_is_a_reset_on_either_side() {
    let (machine, (_folder, path)) = (Machine::new(), folder());
    let mut sockets = sockets(&machine, &path);
    sockets.connect(VsockAddr { cid: HOST, port: 1 }, 5).unwrap();
    let end = next_event(&mut sockets);
    assert_eq!(end.event_type, VsockEventType::Disconnected { reason: DisconnectReason::Reset });
    let mut host = dial(&path, 404);
    wait_for("the refusal", || {
        sockets.poll().unwrap();
        host.set_nonblocking(true).unwrap();
        match host.read(&mut [0; 16]) {
            Ok(count) => count == 0,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        }
    });
}

#[test]
fn megabytes_pass_in_both_directions_under_flow_control() {
    const SIZE: usize = 1 << 20;
    let (machine, (_folder, path)) = (Machine::new(), folder());
    let mut sockets = sockets(&machine, &path);
    sockets.listen(9);
    let pattern: Vec<u8> = (0..SIZE).map(|index| ((index * 31) >> 3) as u8).collect();
    let host = std::thread::spawn({
        let (path, pattern) = (path.clone(), pattern.clone());
        move || {
            let mut stream = dial(&path, 9);
            assert!(read_line(&mut stream).starts_with("OK "));
            let mut writer = stream.try_clone().unwrap();
            let writing = std::thread::spawn(move || writer.write_all(&pattern).unwrap());
            let mut received = vec![0; SIZE];
            stream.read_exact(&mut received).unwrap();
            writing.join().unwrap();
            // Closing the stream is left to the end of the test.
            (stream, received)
        }
    });
    let request = next_event(&mut sockets);
    let (peer, mut sent, mut received) = (request.source, 0, Vec::new());
    wait_for("all data", || {
        for _ in 0..100 {
            if let Some(event) = sockets.poll().unwrap() {
                assert!(!matches!(event.event_type, VsockEventType::Disconnected { .. }));
            }
            let mut data = [0; 4096];
            let count = sockets.recv(peer, 9, &mut data).unwrap();
            received.extend_from_slice(&data[..count]);
            if count != 0 {
                sockets.update_credit(peer, 9).unwrap();
            }
            let now = &pattern[sent..(sent + 1000).min(SIZE)];
            if !now.is_empty() && sockets.send(peer, 9, now).is_ok() {
                sent += now.len();
            }
        }
        sent == SIZE && received.len() == SIZE
    });
    assert!(received == pattern, "host to guest");
    assert!(host.join().unwrap().1 == pattern, "guest to host");
}

#[test]
fn socket_file_is_private_and_goes_with_the_device() {
    let (_folder, path) = folder();
    let first = device(&path);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let second = VsockDevice::new("vsock", CID, path.clone(), Arc::default()).unwrap_err();
    assert_eq!(second.to_string(), format!("Cannot listen on vsock socket {}", path.display()));
    assert!(path.exists());
    drop(first);
    assert!(!path.exists());
    assert!(matches!(VsockDevice::new("vsock", 2, path.clone(), Arc::default()), Err(VsockError::Cid(2))));
    let long = path.with_file_name("x".repeat(120));
    assert!(matches!(VsockDevice::new("vsock", 3, long, Arc::default()), Err(VsockError::Listen { .. })));
}

/// A guest that writes packets by hand.
struct Guest {
    driver: Hostile,
    path: PathBuf,
    _folder: TempDir,
    _machine: Machine,
    sent: u16,
    received: u16,
}

const OUT: u64 = 0x4_0000;
const IN: u64 = 0x6_0000;
const IN_SIZE: u32 = 4096;
const BUFFERS: u16 = 8;
const CREDIT: u32 = 64 * 1024;

impl Guest {
    fn new() -> Guest {
        let (machine, (folder, path)) = (Machine::new(), folder());
        let driver = Hostile::new(&machine, device(&path));
        let mut guest = Guest { driver, path, _folder: folder, _machine: machine, sent: 0, received: 0 };
        guest.restart();
        for buffer in 0..BUFFERS {
            guest.offer_buffer(buffer);
        }
        guest
    }

    /// Resets the device and gives it no buffers.
    fn restart(&mut self) {
        self.driver.start(COMMON, 16);
        (self.sent, self.received) = (0, 0);
        for buffer in 0..BUFFERS {
            let place = IN + u64::from(buffer) * u64::from(IN_SIZE);
            self.driver.describe(0, buffer, &[Buffer(place, IN_SIZE, WRITE, 0)]);
        }
    }

    fn offer_buffer(&mut self, buffer: u16) {
        self.driver.offer(0, buffer);
    }

    fn send(&mut self, header: Header, data: &[u8]) {
        self.driver.memory.write_slice(&header.to_bytes(), GuestAddress(OUT)).unwrap();
        self.driver.memory.write_slice(data, GuestAddress(OUT + HEADER_SIZE as u64)).unwrap();
        // Cut where no honest driver would.
        let length = (HEADER_SIZE + data.len()) as u32;
        self.driver.describe(1, 0, &[Buffer(OUT, 10, NEXT, 1), Buffer(OUT + 10, length - 10, 0, 0)]);
        self.driver.offer(1, 0);
        self.sent += 1;
        self.driver.wait_used(1, self.sent);
    }

    fn receive(&mut self) -> (Header, Vec<u8>) {
        self.received += 1;
        let driver = &self.driver;
        wait_for("a packet", || driver.used(0).wrapping_sub(self.received) < 1000);
        let (buffer, length) = self.driver.used_element(0, self.received - 1);
        let place = GuestAddress(IN + u64::from(buffer) * u64::from(IN_SIZE));
        let mut packet = vec![0; length as usize];
        self.driver.memory.read_slice(&mut packet, place).unwrap();
        self.offer_buffer(buffer as u16);
        let data = packet.split_off(HEADER_SIZE);
        (Header::from_bytes(&packet.try_into().unwrap()), data)
    }

    /// Sends more than the socket takes while nobody reads, within the credit; tells how much that was.
    fn overfill(&mut self, header: Header) -> u32 {
        let (mut written, mut told) = (0, 0);
        while written - told < 60_000 {
            self.send(Header { length: 4000, ..header }, &[written as u8; 4000]);
            written += 4000;
            while self.driver.used(0) != self.received {
                told = self.receive().0.forwarded;
            }
        }
        written
    }

    /// A host's program that the guest accepts.
    fn accept(&mut self) -> (UnixStream, Header) {
        let mut host = dial(&self.path, 80);
        let (request, _) = self.receive();
        assert_eq!((request.operation, request.destination_port), (operation::REQUEST, 80));
        self.send(answer(&request, operation::RESPONSE), &[]);
        assert!(read_line(&mut host).starts_with("OK "));
        (host, answer(&request, operation::DATA))
    }
}

fn answer(request: &Header, operation: u16) -> Header {
    Header { operation, buffer_size: CREDIT, ..request.refusal() }
}

fn packet(operation: u16, destination_port: u32) -> Header {
    Header {
        source_cid: CID.into(),
        destination_cid: HOST,
        source_port: 1000,
        destination_port,
        kind: TYPE_STREAM,
        operation,
        buffer_size: CREDIT,
        ..Header::default()
    }
}

#[test]
fn packets_for_no_connection_are_refused_once() {
    let mut guest = Guest::new();
    for code in [operation::RESPONSE, operation::SHUTDOWN, operation::DATA, operation::CREDIT_UPDATE, 0, 999]
    {
        guest.send(packet(code, 5), &[]);
        let (reset, _) = guest.receive();
        assert_eq!(reset.operation, operation::RESET, "{code}");
        assert_eq!((reset.source_port, reset.destination_port), (5, 1000));
    }
    // Neither a reset nor packets of or for strangers get an answer; what comes next is for the last one.
    guest.send(packet(operation::RESET, 5), &[]);
    guest.send(Header { source_cid: 9, ..packet(operation::REQUEST, 5) }, &[]);
    guest.send(Header { destination_cid: 9, ..packet(operation::REQUEST, 5) }, &[]);
    guest.send(Header { kind: 2, ..packet(operation::REQUEST, 6) }, &[]);
    let (reset, _) = guest.receive();
    assert_eq!((reset.operation, reset.kind, reset.source_port), (operation::RESET, 2, 6));
}

#[test]
fn half_closed_connections_still_carry_the_other_direction() {
    let mut guest = Guest::new();
    let (mut host, header) = guest.accept();
    host.write_all(b"question").unwrap();
    host.shutdown(Shutdown::Write).unwrap();
    assert_eq!(guest.receive().1, b"question");
    let (end, _) = guest.receive();
    assert_eq!((end.operation, end.flags), (operation::SHUTDOWN, SHUTDOWN_SEND));
    guest.send(Header { length: 6, ..header }, b"answer");
    let mut data = [0; 6];
    host.read_exact(&mut data).unwrap();
    assert_eq!(&data, b"answer");
    guest.send(Header { operation: operation::SHUTDOWN, flags: 3, ..header }, &[]);
    assert_eq!(host.read(&mut data).unwrap(), 0);
    assert_eq!(guest.receive().0.operation, operation::RESET);
}

#[test]
fn what_the_guest_sent_before_it_left_is_not_lost() {
    let mut guest = Guest::new();
    let (mut host, header) = guest.accept();
    let written = guest.overfill(header);
    guest.send(Header { operation: operation::SHUTDOWN, flags: 3, ..header }, &[]);
    guest.send(Header { operation: operation::RESET, ..header }, &[]);
    let mut all = Vec::new();
    host.read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), written as usize);
}

#[test]
fn what_the_guest_sent_survives_its_driver() {
    let mut guest = Guest::new();
    let (mut host, header) = guest.accept();
    let written = guest.overfill(header);
    guest.restart();
    // The next driver finds no connection, and the program its bytes.
    let mut all = Vec::new();
    host.read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), written as usize);
    guest.offer_buffer(0);
    guest.send(Header { length: 1, ..header }, &[1]);
    assert_eq!(guest.receive().0.operation, operation::RESET);
}

#[test]
fn last_words_are_not_lost_when_the_machine_ends() {
    let mut guest = Guest::new();
    let (mut host, header) = guest.accept();
    let written = guest.overfill(header);
    // One more, that nobody was notified of.
    let last = [Header { length: 3, ..header }.to_bytes().as_slice(), b"end"].concat();
    guest.driver.memory.write_slice(&last, GuestAddress(OUT)).unwrap();
    guest.driver.describe(1, 0, &[Buffer(OUT, last.len() as u32, 0, 0)]);
    guest.driver.offer_silently(1, 0);
    let reader = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        let mut all = Vec::new();
        host.read_to_end(&mut all).unwrap();
        all
    });
    drop(guest);
    let all = reader.join().unwrap();
    assert_eq!(all.len(), written as usize + 3);
    assert!(all.ends_with(b"end"));
}

#[test]
fn a_program_that_does_not_read_keeps_no_machine_from_its_end() {
    let mut guest = Guest::new();
    let (host, header) = guest.accept();
    guest.overfill(header);
    let start = Instant::now();
    drop(guest);
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    drop(host);
}

#[test]
fn credit_is_kept_and_enforced() {
    let mut guest = Guest::new();
    let (mut host, header) = guest.accept();
    // The guest has room for 100 bytes, then for 50 more.
    guest.send(Header { operation: operation::CREDIT_UPDATE, buffer_size: 100, ..header }, &[]);
    host.write_all(&[1; 1000]).unwrap();
    assert_eq!(guest.receive().1.len(), 100);
    assert_eq!(guest.receive().0.operation, operation::CREDIT_REQUEST);
    guest
        .send(Header { operation: operation::CREDIT_UPDATE, buffer_size: 100, forwarded: 50, ..header }, &[]);
    assert_eq!(guest.receive().1.len(), 50);
    // A guest that claims to have read more than it got has no room.
    guest.receive();
    guest.send(
        Header { operation: operation::CREDIT_UPDATE, buffer_size: 100, forwarded: 5000, ..header },
        &[],
    );
    // It sends far more than we said we take.
    let mut resets = 0;
    for _ in 0..200 {
        guest.send(Header { length: 4000, buffer_size: 0, ..header }, &[7; 4000]);
        while guest.driver.used(0) != guest.received {
            resets += usize::from(guest.receive().0.operation == operation::RESET);
        }
        if resets > 0 {
            break;
        }
    }
    assert_ne!(resets, 0, "a guest may fill the host's memory");
}

#[test]
fn silence_of_the_guest_ends_a_request_in_time() {
    let mut guest = Guest::new();
    let mut host = dial(&guest.path, 80);
    assert_eq!(guest.receive().0.operation, operation::REQUEST);
    assert_eq!(host.read(&mut [0; 10]).unwrap(), 0, "the host's program is told");
    assert_eq!(guest.receive().0.operation, operation::RESET);
}

#[test]
fn operations_out_of_place_reset_the_connection() {
    for code in [operation::REQUEST, operation::RESPONSE, 0, 8, u16::MAX] {
        let mut guest = Guest::new();
        let (mut host, header) = guest.accept();
        guest.send(Header { operation: code, ..header }, &[]);
        assert_eq!(guest.receive().0.operation, operation::RESET, "{code}");
        assert_eq!(host.read(&mut [0; 10]).unwrap(), 0);
    }
}

#[test]
fn malformed_packets_break_the_device_and_a_reset_heals_it() {
    let mut guest = Guest::new();
    let (mut host, header) = guest.accept();
    let lies: &[&[Buffer]] = &[
        &[Buffer(OUT, 43, 0, 0)],
        &[Buffer(OUT, 0, 0, 0)],
        &[Buffer(OUT, 100, WRITE, 0)],
        &[Buffer((1 << 20) - 20, 44, 0, 0)],
        &[Buffer(OUT, 44 + 99, 0, 0)],
    ];
    for lie in lies {
        let long = Header { length: 100, ..header };
        guest.driver.memory.write_slice(&long.to_bytes(), GuestAddress(OUT)).unwrap();
        guest.driver.describe(1, 0, lie);
        guest.driver.offer(1, 0);
        guest.driver.wait_broken();
        guest.restart();
    }
    // The reset closed what was open.
    assert_eq!(host.read(&mut [0; 10]).unwrap(), 0);
    // A receive buffer without room for data.
    guest.driver.describe(0, 0, &[Buffer(IN, 44, WRITE, 0)]);
    guest.offer_buffer(0);
    guest.driver.memory.write_slice(&packet(operation::REQUEST, 5).to_bytes(), GuestAddress(OUT)).unwrap();
    guest.driver.describe(1, 0, &[Buffer(OUT, 44, 0, 0)]);
    guest.driver.offer(1, 0);
    guest.driver.wait_broken();
    guest.restart();
    guest.offer_buffer(1);
    guest.send(packet(operation::REQUEST, 5), &[]);
    assert_eq!(guest.receive().0.operation, operation::RESET);
}

#[test]
fn connections_are_limited() {
    let mut guest = Guest::new();
    let listener = UnixListener::bind(format!("{}_1", guest.path.display())).unwrap();
    let mut accepted = Vec::new();
    let mut refused = 0;
    for source_port in 0..100 {
        guest.send(Header { source_port, ..packet(operation::REQUEST, 1) }, &[]);
        match guest.receive().0.operation {
            operation::RESPONSE => accepted.push(listener.accept().unwrap()),
            operation::RESET => refused += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!((accepted.len(), refused), (CONNECTIONS_MAX, 100 - CONNECTIONS_MAX));
}

#[test]
fn packets_wait_until_the_guest_has_buffers() {
    let mut guest = Guest::new();
    guest.restart();
    let listener = UnixListener::bind(format!("{}_1", guest.path.display())).unwrap();
    for source_port in 0..50 {
        guest.send(Header { source_port, ..packet(operation::REQUEST, 1) }, &[]);
        listener.accept().unwrap();
        // Opened, forgotten and opened again: only the last one is owed an answer.
        guest.send(Header { source_port, ..packet(operation::RESET, 1) }, &[]);
        guest.send(Header { source_port, ..packet(operation::REQUEST, 1) }, &[]);
        listener.accept().unwrap();
    }
    assert_eq!(guest.driver.used(0), 0);
    for buffer in 0..BUFFERS {
        guest.offer_buffer(buffer);
    }
    for source_port in 0..50 {
        let (response, _) = guest.receive();
        assert_eq!((response.operation, response.destination_port), (operation::RESPONSE, source_port));
    }
}
