//! The device in front of passt: a stream in its place, and the program itself.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use virtio_bindings::virtio_net::{VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_MRG_RXBUF};
use virtio_drivers::device::net::{TxBuffer, VirtIONet};
use vm_memory::{Bytes, GuestAddress};

use super::tests::{Stranger, receive};
use crate::config::MacAddress;
use crate::metrics::NetMetrics;
use crate::net::{Passt, Port, in_own_network};
use crate::virtio::driver::{Buffer, Hostile, Machine, WRITE, wait_for};
use crate::virtio::features::COMMON;
use crate::virtio::net::NetDevice;

const MAC: [u8; 6] = [6, 0, 0, 0, 0, 1];
const BUFFERS: u64 = 0x4_0000;

/// A device that has connected to a socket of ours, and our end.
fn device(more: &Value) -> (NetDevice, Arc<NetMetrics>, UnixStream) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let mut spec =
        json!({"iface_id": "eth0", "backend": "passt", "host_dev_name": path, "guest_mac": MacAddress(MAC)});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let port = Port::passt(Passt::connect(&path).unwrap());
    let peer = listener.accept().unwrap().0;
    peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let metrics = Arc::<NetMetrics>::default();
    (
        NetDevice::new(&serde_json::from_value(spec).unwrap(), vec![port], metrics.clone()).unwrap(),
        metrics,
        peer,
    )
}

fn framed(frame: &[u8]) -> Vec<u8> {
    [(frame.len() as u32).to_be_bytes().as_slice(), frame].concat()
}

fn read_frame(peer: &mut UnixStream) -> Vec<u8> {
    let mut length = [0; 4];
    peer.read_exact(&mut length).unwrap();
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    peer.read_exact(&mut frame).unwrap();
    frame
}

#[test]
fn a_strangers_driver_sends_and_receives() {
    let (machine, (device, metrics, mut peer)) = (Machine::new(), device(&json!({})));
    let mut driver: Stranger = VirtIONet::new(machine.window(device), 2048).unwrap();
    for round in 0..100_u8 {
        driver.send(TxBuffer::from(&[round; 60])).unwrap();
        assert_eq!(read_frame(&mut peer), [round; 60]);
        // In two pieces, none of which is a frame.
        let bytes = framed(&[round; 1514]);
        peer.write_all(&bytes[..100]).unwrap();
        peer.write_all(&bytes[100..]).unwrap();
        assert_eq!(receive(&mut driver), [round; 1514]);
    }
    let counts = (metrics.tx_packets_count.total(), metrics.rx_packets_count.total());
    assert_eq!(counts, (100, 100));
    assert_eq!((metrics.tx_bytes_count.total(), metrics.rx_bytes_count.total()), (6000, 151_400));
}

#[test]
fn nothing_is_left_to_passt() {
    let (machine, (device, ..)) = (Machine::new(), device(&json!({"mtu": 65520})));
    let driver = Hostile::new(&machine, device);
    let features = u64::from(driver.read(0x010));
    assert_ne!(features & 1 << VIRTIO_NET_F_MRG_RXBUF, 0);
    assert_eq!(features & (1 << VIRTIO_NET_F_CSUM | 1 << VIRTIO_NET_F_GUEST_CSUM | 0xf << 7 | 0xf << 11), 0);
    assert_eq!(driver.read(0x108) >> 16, 65520);
}

#[test]
fn a_passt_that_does_not_read_holds_the_guest_up_and_loses_nothing() {
    let (machine, (device, _, mut peer)) = (Machine::new(), device(&json!({})));
    let mut driver = Hostile::new(&machine, device);
    driver.start(COMMON, 32);
    let memory = driver.memory.clone();
    memory.write_slice(&[6; 1526], GuestAddress(BUFFERS)).unwrap();
    memory.write_slice(&[0; 12], GuestAddress(BUFFERS)).unwrap();
    let mut sent = 0;
    loop {
        driver.describe(1, 0, &[Buffer(BUFFERS, 1526, 0, 0)]);
        driver.offer(1, 0);
        sent += 1;
        let end = std::time::Instant::now() + Duration::from_secs(1);
        while driver.used(1) != sent && std::time::Instant::now() < end {}
        if driver.used(1) != sent {
            break;
        }
    }
    assert!(sent > 80, "{sent}");
    for _ in 0..sent {
        assert_eq!(read_frame(&mut peer), [6; 1514]);
    }
    driver.wait_used(1, sent);
}

#[test]
fn frames_that_ask_for_offloads_are_none() {
    let (machine, (device, metrics, mut peer)) = (Machine::new(), device(&json!({})));
    let mut driver = Hostile::new(&machine, device);
    driver.start(COMMON, 32);
    let memory = driver.memory.clone();
    for (round, (flags, segments)) in [(1_u8, 0_u8), (0, 1), (0, 0x81), (0, 0)].into_iter().enumerate() {
        memory.write_slice(&[5; 100], GuestAddress(BUFFERS)).unwrap();
        memory.write_slice(&[flags, segments], GuestAddress(BUFFERS)).unwrap();
        driver.describe(1, 0, &[Buffer(BUFFERS, 100, 0, 0)]);
        driver.offer(1, 0);
        driver.wait_used(1, round as u16 + 1);
    }
    assert_eq!(read_frame(&mut peer), [5; 88], "the last of them");
    assert_eq!((metrics.tx_malformed_frames.total(), metrics.tx_packets_count.total()), (3, 1));
}

#[test]
fn a_frame_too_long_for_the_driver_is_passed_over() {
    let (machine, (device, metrics, mut peer)) = (Machine::new(), device(&json!({})));
    let mut driver = Hostile::new(&machine, device);
    driver.start(COMMON | 1 << VIRTIO_NET_F_MRG_RXBUF, 32);
    for buffer in 0..32_u16 {
        let place = BUFFERS + u64::from(buffer) * 256;
        driver.describe(0, buffer, &[Buffer(place, 256, WRITE, 0)]);
        driver.offer(0, buffer);
    }
    peer.write_all(&[framed(&[1; 9000]), framed(&[2; 60])].concat()).unwrap();
    assert_eq!(driver.wait_used(0, 1), (0, 72));
    let mut frame = [0; 72];
    driver.memory.read_slice(&mut frame, GuestAddress(BUFFERS)).unwrap();
    assert_eq!((&frame[..12], &frame[12..]), (&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0][..], &[2; 60][..]));
    assert_eq!((metrics.rx_fails.total(), metrics.rx_packets_count.total()), (1, 1));
}

#[test]
fn a_reset_in_the_middle_of_a_frame_leaves_the_stream_in_step() {
    let (machine, (device, _, mut peer)) = (Machine::new(), device(&json!({})));
    let mut driver = Hostile::new(&machine, device);
    let bytes = framed(&[3; 200]);
    for half in bytes.chunks(102) {
        driver.start(COMMON, 32);
        driver.describe(0, 0, &[Buffer(BUFFERS, 1526, WRITE, 0)]);
        peer.write_all(half).unwrap();
        driver.offer(0, 0);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(driver.wait_used(0, 1), (0, 212));
}

#[test]
fn when_passt_ends_only_its_interface_is_silent() {
    let (machine, (device, metrics, peer)) = (Machine::new(), device(&json!({})));
    let mut driver: Stranger = VirtIONet::new(machine.window(device), 2048).unwrap();
    drop(peer);
    wait_for("its end", || metrics.tap_read_fails.total() == 1);
    let events = metrics.rx_tap_event_count.total();
    for round in 1..20 {
        driver.send(TxBuffer::from(&[round; 60])).unwrap();
        assert_eq!(metrics.tap_write_fails.total(), u64::from(round));
    }
    assert!(metrics.rx_tap_event_count.total() <= events + 1, "it is not waited for in a circle");
    assert_eq!((metrics.tap_read_fails.total(), metrics.tx_packets_count.total()), (1, 0));
}

#[test]
fn limits_hold_passt_as_they_do_a_tap() {
    let limits = json!({"ops": {"size": 5, "refill_time": 50}});
    let more = json!({"rx_rate_limiter": limits, "tx_rate_limiter": limits});
    let (machine, (device, metrics, mut peer)) = (Machine::new(), device(&more));
    let mut driver: Stranger = VirtIONet::new(machine.window(device), 2048).unwrap();
    let start = std::time::Instant::now();
    for _ in 0..25 {
        driver.send(TxBuffer::from(&[4; 60])).unwrap();
        read_frame(&mut peer);
    }
    let sent = start.elapsed();
    // All there at once: what the limits hold back waits where it has been read to.
    peer.write_all(&framed(&[7; 60]).repeat(25)).unwrap();
    let start = std::time::Instant::now();
    for _ in 0..25 {
        assert_eq!(receive(&mut driver), [7; 60]);
    }
    // 20 frames beyond the first five, at a frame in 10 ms.
    for took in [sent, start.elapsed()] {
        assert!((190..1000).contains(&took.as_millis()), "{took:?}");
    }
    assert!(metrics.rx_rate_limiter_throttled.total() > 3, "{metrics:?}");
}

/// passt at the other end of a stream.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn passt_itself_answers_and_ends_with_the_machine() {
    in_own_network("passt_itself_answers_and_ends_with_the_machine", || {
        for arguments in [
            "link set lo up",
            "link add up0 type veth peer name up1",
            "addr add 192.0.2.9/24 dev up0",
            "link set up0 up",
            "route add default via 192.0.2.1",
        ] {
            assert!(Command::new("ip").args(arguments.split(' ')).status().unwrap().success(), "{arguments}");
        }
        let (device, metrics, peer) = device(&json!({}));
        let passt = Command::new("passt")
            .args(["-f", "-q", "-4", "-a", "10.88.0.2", "-n", "24", "-g", "10.88.0.1", "--no-map-gw"])
            .args(["-M", "06:00:00:00:00:02", "-F", "0"])
            .stdin(OwnedFd::from(peer))
            .stderr(Stdio::null())
            .spawn()
            .expect("passt (Debian's package passt; tools/requirements installs it)");
        let mut passt = Program(passt);
        let machine = Machine::new();
        let mut driver: Stranger = VirtIONet::new(machine.window(device), 2048).unwrap();
        let head =
            [[0xff; 6].as_slice(), &MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &MAC, &[10, 88, 0, 2]].concat();
        driver.send(TxBuffer::from(&[head.as_slice(), &[0; 6], &[10, 88, 0, 1]].concat())).unwrap();
        let reply = receive(&mut driver);
        assert_eq!(
            (&reply[..6], &reply[20..22], &reply[28..32]),
            (&MAC[..], &[0, 2][..], &[10, 88, 0, 1][..])
        );
        // A listener at every address: who asks by the namespace's own is answered, by the loopback is not.
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for destination in [[127, 0, 0, 1], [0, 0, 0, 0], [192, 0, 2, 9]] {
            driver.send(TxBuffer::from(&connect(destination, port))).unwrap();
        }
        let answer = receive(&mut driver);
        assert_eq!((&answer[26..30], answer[47]), (&[192, 0, 2, 9][..], 0x12), "SYN and ACK");
        assert_eq!(metrics.tap_write_fails.total(), 2);
        drop(driver);
        wait_for("passt's end", || passt.0.try_wait().unwrap().is_some());
    });
}

/// A frame that asks for a TCP connection (RFC 791, RFC 9293).
fn connect(destination: [u8; 4], port: u16) -> Vec<u8> {
    let addresses = [[10, 88, 0, 2], destination].concat();
    let ip = |sum: u16| {
        let front = [&[0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6], sum.to_be_bytes().as_slice()].concat();
        [front.as_slice(), &addresses].concat()
    };
    let tcp = |sum: u16| {
        let ports = [4000_u16.to_be_bytes(), port.to_be_bytes()].concat();
        let rest =
            [&[0, 0, 0, 9, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff], sum.to_be_bytes().as_slice(), &[0, 0]].concat();
        [ports, rest].concat()
    };
    let pseudo = [addresses.as_slice(), &[0, 6, 0, 20], &tcp(0)].concat();
    let ethernet = [[6, 0, 0, 0, 0, 2].as_slice(), &MAC, &[8, 0]].concat();
    [ethernet, ip(checksum(&ip(0))), tcp(checksum(&pseudo))].concat()
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum = words.sum::<u32>();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}
