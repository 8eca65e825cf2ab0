use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use virtio_bindings::virtio_net::{
    VIRTIO_NET_F_CTRL_VQ, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_MRG_RXBUF,
    VIRTIO_NET_F_MTU, VIRTIO_NET_F_RSS,
};
use virtio_drivers::device::net::{TxBuffer, VirtIONet};
use vm_memory::{Bytes, GuestAddress};

use crate::config::{MacAddress, NetworkInterfaceChange};
use crate::metrics::NetMetrics;
use crate::mmds::Mmds;
use crate::net::{Port, Tap, in_own_network};
use crate::virtio::driver::{ArenaHal, Buffer, Hostile, INDIRECT, Machine, NEXT, WRITE, Window, wait_for};
use crate::virtio::features::{COMMON, VERSION_1};
use crate::virtio::net::NetDevice;

const MAC: [u8; 6] = [6, 0, 0, 0, 0, 1];
const HEADER: usize = 12;
const MERGE: u64 = 1 << VIRTIO_NET_F_MRG_RXBUF;

/// A wire in the tap's place, and its other end.
fn wire() -> (Tap, UnixDatagram) {
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    (Tap::from_socket(ours), theirs)
}

/// An interface with what `more` says, behind `tap`.
fn device(tap: Tap, more: &Value) -> (NetDevice, Arc<NetMetrics>) {
    let mut spec = json!({"iface_id": "eth0", "host_dev_name": "tap0", "guest_mac": MacAddress(MAC)});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let metrics = Arc::<NetMetrics>::default();
    (
        NetDevice::new(&serde_json::from_value(spec).unwrap(), vec![Port::Tap(tap)], metrics.clone())
            .unwrap(),
        metrics,
    )
}

pub type Stranger = VirtIONet<ArenaHal, Window, 16>;

fn stranger(machine: &Machine, tap: Tap) -> Stranger {
    VirtIONet::new(machine.window(NetDevice::plain(tap, MAC)), 2048).unwrap()
}

pub fn receive(driver: &mut Stranger) -> Vec<u8> {
    wait_for("a frame", || driver.can_recv());
    let buffer = driver.receive().unwrap();
    let frame = buffer.packet().to_vec();
    driver.recycle_rx_buffer(buffer).unwrap();
    frame
}

#[test]
fn a_strangers_driver_sends_and_receives() {
    let (machine, (tap, wire)) = (Machine::new(), wire());
    let mut driver = stranger(&machine, tap);
    assert_eq!(driver.mac_address(), MAC);
    for round in 0..100_u8 {
        driver.send(TxBuffer::from(&[round; 60])).unwrap();
        let mut frame = [0; 2048];
        let length = wire.recv(&mut frame).unwrap();
        assert_eq!(length, HEADER + 60);
        assert_eq!(frame[HEADER..length], [round; 60]);
        wire.send(&[[0; HEADER].as_slice(), &[round; 1514]].concat()).unwrap();
        assert_eq!(receive(&mut driver), [round; 1514]);
    }
}

#[test]
fn bursts_beyond_the_drivers_buffers_wait() {
    let (machine, (tap, wire)) = (Machine::new(), wire());
    let mut driver = stranger(&machine, tap);
    let sender = std::thread::spawn(move || {
        for round in 0..500_u16 {
            let frame = [[0; HEADER].as_slice(), &round.to_le_bytes(), &[1; 58]].concat();
            wire.send(&frame).unwrap();
        }
    });
    for round in 0..500_u16 {
        assert_eq!(receive(&mut driver)[..2], round.to_le_bytes());
    }
    sender.join().unwrap();
}

struct Victim {
    driver: Hostile,
    wire: UnixDatagram,
    _machine: Machine,
}

const BUFFERS: u64 = 0x4_0000;
const BUFFER_SIZE: u32 = 256;

fn victim(features: u64) -> Victim {
    let (machine, (tap, wire)) = (Machine::new(), wire());
    let mut driver = Hostile::new(&machine, NetDevice::plain(tap, MAC));
    driver.start(COMMON | features, 32);
    Victim { driver, wire, _machine: machine }
}

impl Victim {
    fn offer_buffers(&mut self, count: u16) {
        for buffer in 0..count {
            let place = BUFFERS + u64::from(buffer) * u64::from(BUFFER_SIZE);
            self.driver.describe(0, buffer, &[Buffer(place, BUFFER_SIZE, WRITE, 0)]);
            self.driver.offer(0, buffer);
        }
    }
}

#[test]
fn frames_spread_over_merged_buffers() {
    let mut victim = victim(MERGE);
    victim.offer_buffers(16);
    let frame: Vec<u8> = (0..1000).map(|index| index as u8).collect();
    victim.wire.send(&[[0xff; HEADER].as_slice(), &frame].concat()).unwrap();
    assert_eq!(victim.driver.wait_used(0, 4), (3, 1012 - 3 * BUFFER_SIZE));
    let mut received = vec![0; 1012];
    victim.driver.memory.read_slice(&mut received, GuestAddress(BUFFERS)).unwrap();
    assert_eq!(received[10..12], [4, 0], "the number of buffers");
    assert_eq!(received[12..], frame);
    // A short one takes one.
    victim.wire.send(&[0; 72]).unwrap();
    victim.offer_buffers(0);
    assert_eq!(victim.driver.wait_used(0, 5), (4, 72));
}

#[test]
fn without_merging_the_number_of_buffers_is_one() {
    let mut victim = victim(0);
    victim.offer_buffers(1);
    victim.wire.send(&[0xff; 72]).unwrap();
    assert_eq!(victim.driver.wait_used(0, 1), (0, 72));
    let count: u16 = victim.driver.memory.read_obj(GuestAddress(BUFFERS + 10)).unwrap();
    assert_eq!(count, 1);
}

#[test]
fn frames_wait_for_enough_buffers_and_then_for_all_there_are() {
    let mut victim = victim(MERGE | 1 << VIRTIO_NET_F_GUEST_CSUM | 1 << VIRTIO_NET_F_GUEST_TSO4);
    victim.wire.send(&[1; 1000]).unwrap();
    victim.offer_buffers(16);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(victim.driver.used(0), 0, "65,562 bytes do not fit yet");
    // With the whole ring it must do, whatever fits.
    for buffer in 16..32_u16 {
        victim.driver.describe(0, buffer, &[Buffer(BUFFERS, BUFFER_SIZE, WRITE, 0)]);
        victim.driver.offer(0, buffer);
    }
    victim.driver.wait_used(0, 4);
}

#[test]
fn sent_frames_may_come_in_any_pieces_and_nonsense_is_dropped() {
    let mut victim = victim(0);
    let memory = victim.driver.memory.clone();
    memory.write_slice(&[7; 4096], GuestAddress(BUFFERS)).unwrap();
    let nonsense: &[&[Buffer]] = &[
        &[Buffer(BUFFERS, 0, 0, 0)],
        &[Buffer(BUFFERS, 12, 0, 0)],
        &[Buffer(BUFFERS, 70_000, 0, 0)],
        &[Buffer(BUFFERS, 100, WRITE, 0)],
        &[Buffer((1 << 20) - 50, 100, 0, 0)],
        &[Buffer(u64::MAX - 50, 100, 0, 0)],
        &[Buffer(BUFFERS, 12, NEXT, 1), Buffer(1 << 50, 1514, 0, 0)],
    ];
    let mut used = 0;
    for chain in nonsense {
        victim.driver.describe(1, 0, chain);
        victim.driver.offer(1, 0);
        used += 1;
        assert_eq!(victim.driver.wait_used(1, used), (0, 0));
    }
    let pieces = [Buffer(BUFFERS, 5, NEXT, 1), Buffer(BUFFERS, 0, NEXT, 2), Buffer(BUFFERS, 70, 0, 0)];
    victim.driver.describe(1, 0, &pieces);
    victim.driver.offer(1, 0);
    victim.driver.wait_used(1, used + 1);
    let mut frame = [0; 2048];
    assert_eq!(victim.wire.recv(&mut frame).unwrap(), 75);
    victim.wire.set_nonblocking(true).unwrap();
    assert_eq!(victim.wire.recv(&mut frame).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn impossible_receive_buffers_break_the_device() {
    let chains: &[&[Buffer]] = &[
        &[Buffer(BUFFERS, 11, WRITE, 0)],
        &[Buffer(BUFFERS, 2048, 0, 0)],
        &[Buffer((1 << 20) - 50, 100, WRITE, 0)],
        &[Buffer(u64::MAX, 100, WRITE, 0)],
        &[Buffer(BUFFERS, 100, WRITE | NEXT, 0)],
        &[Buffer(BUFFERS, 100, WRITE | NEXT, 99)],
        &[Buffer(BUFFERS, 32, INDIRECT | NEXT, 0)],
    ];
    let mut victim = victim(MERGE);
    for chain in chains {
        victim.driver.start(COMMON | MERGE, 32);
        victim.driver.describe(0, 0, chain);
        victim.driver.offer(0, 0);
        victim.wire.send(&[0; 72]).unwrap();
        victim.driver.wait_broken();
    }
    victim.driver.start(COMMON | MERGE, 32);
    victim.offer_buffers(32);
    wait_for("the frames that were kept", || victim.driver.used(0) > 0);
}

#[test]
fn no_control_queue_and_no_receive_side_scaling() {
    let victim = victim(0);
    assert_eq!(victim.driver.read(0x010) & 1 << VIRTIO_NET_F_CTRL_VQ, 0);
    victim.driver.write(0x014, 1);
    assert_eq!(victim.driver.read(0x010) & 1 << (VIRTIO_NET_F_RSS - 32), 0);
    assert_eq!(u64::from(victim.driver.read(0x010)) << 32, VERSION_1);
}

#[test]
fn a_real_tap_answers_arp() {
    in_own_network("a_real_tap_answers_arp", || {
        let tap = Tap::new_for_test("bulktap0", "10.77.0.1/24");
        let machine = Machine::new();
        let mut driver = stranger(&machine, tap);
        let request = [
            [0xff; 6].as_slice(),
            &MAC,
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
            &MAC,
            &[10, 77, 0, 2],
            &[0; 6],
            &[10, 77, 0, 1],
        ]
        .concat();
        // The kernel drops what it sends until it has noticed, a little later, that somebody is at the
        // other end; and the interface says hello over IPv6 too.
        let mut reply = Vec::new();
        wait_for("a reply", || {
            driver.send(TxBuffer::from(&request)).unwrap();
            std::thread::sleep(Duration::from_millis(20));
            while reply.get(12..14) != Some(&[8, 6]) && driver.can_recv() {
                reply = receive(&mut driver);
            }
            reply.get(12..14) == Some(&[8, 6])
        });
        assert_eq!(reply[..6], MAC);
        assert_eq!(reply[20..22], [0, 2], "a reply");
        assert_eq!(reply[28..32], [10, 77, 0, 1]);
    });
}

/// How long `frames` of 1,014 bytes take.
fn frames_take(frames: u32, mut one: impl FnMut()) -> Duration {
    let start = Instant::now();
    (0..frames).for_each(|_| one());
    start.elapsed()
}

#[test]
fn limits_hold_both_directions_and_lose_nothing() {
    let (machine, (tap, wire)) = (Machine::new(), wire());
    // 100 KB a second, of which 5,070 bytes (five frames) are there at the start.
    let limits = json!({"bandwidth": {"size": 5070, "refill_time": 51}});
    let (device, metrics) = device(tap, &json!({"rx_rate_limiter": limits, "tx_rate_limiter": limits}));
    let handle = device.handle();
    let mut driver: Stranger = VirtIONet::new(machine.window(device), 2048).unwrap();
    let frame = [[0; HEADER].as_slice(), &MAC, &MAC, &[3; 1002]].concat();
    let mut buffer = [0; 2048];
    let sent = frames_take(25, || {
        driver.send(TxBuffer::from(&frame[HEADER..])).unwrap();
        assert_eq!(wire.recv(&mut buffer).unwrap(), frame.len());
    });
    for _ in 0..25 {
        wire.send(&frame).unwrap();
    }
    let received = frames_take(25, || assert_eq!(receive(&mut driver), frame[HEADER..]));
    // 20 frames beyond the first five, at a frame in 10.2 ms.
    for took in [sent, received] {
        assert!((190..1000).contains(&took.as_millis()), "{took:?}");
    }
    assert!(metrics.tx_rate_limiter_throttled.total() > 3, "{metrics:?}");
    assert!(metrics.rx_rate_limiter_throttled.total() > 3, "{metrics:?}");
    assert_eq!((metrics.tx_packets_count.total(), metrics.rx_packets_count.total()), (25, 25));
    assert_eq!((metrics.tx_bytes_count.total(), metrics.rx_bytes_count.total()), (25_350, 25_350));

    let free = json!({"bandwidth": {"size": 0, "refill_time": 0}});
    let change = json!({"iface_id": "eth0", "rx_rate_limiter": free, "tx_rate_limiter": free});
    handle.update(&serde_json::from_value::<NetworkInterfaceChange>(change).unwrap());
    let before = metrics.rx_rate_limiter_throttled.total();
    (0..50).for_each(|_| {
        wire.send(&frame).unwrap();
        assert_eq!(receive(&mut driver), frame[HEADER..]);
    });
    assert_eq!(metrics.rx_rate_limiter_throttled.total(), before);
}

#[test]
fn a_change_lets_frames_go_that_would_have_waited_an_hour() {
    let (machine, (tap, wire)) = (Machine::new(), wire());
    let limits = json!({"ops": {"size": 1, "refill_time": 3_600_000}});
    let (device, _) = device(tap, &json!({"rx_rate_limiter": limits}));
    let handle = device.handle();
    let mut driver: Stranger = VirtIONet::new(machine.window(device), 2048).unwrap();
    for _ in 0..3 {
        wire.send(&[1; 72]).unwrap();
    }
    receive(&mut driver);
    std::thread::sleep(Duration::from_millis(50));
    assert!(!driver.can_recv());
    let change = json!({"iface_id": "eth0", "rx_rate_limiter": {"ops": {"size": 100, "refill_time": 1}}});
    handle.update(&serde_json::from_value::<NetworkInterfaceChange>(change).unwrap());
    receive(&mut driver);
    receive(&mut driver);
}

#[test]
fn the_mtu_is_told_when_there_is_one() {
    let offers = |more: Value| {
        let (machine, (tap, _wire)) = (Machine::new(), wire());
        let driver = Hostile::new(&machine, device(tap, &more).0);
        (driver.read(0x010) & 1 << VIRTIO_NET_F_MTU != 0, driver.read(0x108) >> 16)
    };
    assert_eq!(offers(json!({})), (false, 0));
    assert_eq!(offers(json!({"mtu": 9000})), (true, 9000));
}

#[test]
fn odd_frames_are_counted() {
    let (machine, (tap, _wire)) = (Machine::new(), wire());
    let (device, metrics) = device(tap, &json!({}));
    let mut driver = Hostile::new(&machine, device);
    driver.start(COMMON, 32);
    driver.memory.write_slice(&[7; 4096], GuestAddress(BUFFERS)).unwrap();
    let chains = [Buffer(BUFFERS, 25, 0, 0), Buffer(1 << 50, 100, 0, 0), Buffer(BUFFERS, 26, 0, 0)];
    for (used, chain) in (1..).zip(chains) {
        driver.describe(1, 0, &[chain]);
        driver.offer(1, 0);
        driver.wait_used(1, used);
    }
    assert_eq!(metrics.tx_malformed_frames.total(), 2);
    assert_eq!((metrics.tx_spoofed_mac_count.total(), metrics.tx_packets_count.total()), (1, 1));
}

#[test]
fn the_metadata_service_answers_before_the_tap_does() {
    let (machine, (tap, wire)) = (Machine::new(), wire());
    let limits = json!({"bandwidth": {"size": 60, "refill_time": 3_600_000}});
    let (device, metrics) = device(tap, &json!({"tx_rate_limiter": limits}));
    let config = json!({"network_interfaces": ["eth0"], "ipv4_address": "169.254.1.9"});
    let mmds = Mmds::new(1000, Arc::default());
    let device = device.with_metadata(mmds, serde_json::from_value(config).unwrap());
    let mut driver: Stranger = VirtIONet::new(machine.window(device), 2048).unwrap();
    let question = |target: &[u8; 4]| {
        let head =
            [[0xff; 6].as_slice(), &MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &MAC, &[10, 77, 0, 2]].concat();
        [head.as_slice(), &[0; 6], target, &[0; 18]].concat()
    };
    // These do not count: the limits would let the second wait for an hour.
    for _ in 0..20 {
        driver.send(TxBuffer::from(&question(&[169, 254, 1, 9]))).unwrap();
        let reply = receive(&mut driver);
        assert_eq!(
            (&reply[..6], &reply[20..22], &reply[28..32]),
            (&MAC[..], &[0, 2][..], &[169, 254, 1, 9][..])
        );
    }
    assert_eq!((metrics.tx_packets_count.total(), metrics.rx_packets_count.total()), (0, 20));
    driver.send(TxBuffer::from(&question(&[169, 254, 1, 8]))).unwrap();
    let mut frame = [0; 2048];
    let length = wire.recv(&mut frame).unwrap();
    assert_eq!(frame[HEADER..length], question(&[169, 254, 1, 8]), "the first one that the tap sees");
}
