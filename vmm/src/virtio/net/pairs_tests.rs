//! Several pairs of queues: who gets frames, and what the control queue obeys.

use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use virtio_bindings::virtio_net::{VIRTIO_NET_F_CTRL_VQ, VIRTIO_NET_F_MQ};
use vm_memory::{Bytes, GuestAddress};

use crate::net::{Port, Tap, in_own_network};
use crate::virtio::device::VirtioDevice;
use crate::virtio::driver::{Buffer, Hostile, Machine, NEXT, WRITE};
use crate::virtio::features::COMMON;
use crate::virtio::net::NetDevice;

const BUFFERS: u64 = 0x8_0000;
const PAIRS: u64 = 1 << VIRTIO_NET_F_MQ | 1 << VIRTIO_NET_F_CTRL_VQ;
/// Of a device with three pairs.
const CONTROL: u16 = 6;

fn device(ports: Vec<Port>) -> NetDevice {
    let spec = json!({"iface_id": "eth0", "host_dev_name": "tap0", "queues": ports.len()});
    NetDevice::new(&serde_json::from_value(spec).unwrap(), ports, Arc::default()).unwrap()
}

/// Three wires in the places of three queues, and their other ends.
fn wires() -> (Vec<Port>, Vec<UnixDatagram>) {
    let wire = |_| {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        (Port::Tap(Tap::from_socket(ours)), theirs)
    };
    (0..3).map(wire).unzip()
}

/// Sends a command in these bytes; gives the answer.
fn command(driver: &mut Hostile, round: u16, bytes: &[u8]) -> u8 {
    driver.memory.write_slice(bytes, GuestAddress(BUFFERS)).unwrap();
    driver.memory.write_obj(0x55_u8, GuestAddress(BUFFERS + 64)).unwrap();
    let length = u32::try_from(bytes.len()).unwrap();
    driver.describe(CONTROL, 0, &[Buffer(BUFFERS, length, NEXT, 1), Buffer(BUFFERS + 64, 1, WRITE, 0)]);
    driver.offer(CONTROL, 0);
    assert_eq!(driver.wait_used(CONTROL, round), (0, 1));
    driver.memory.read_obj(GuestAddress(BUFFERS + 64)).unwrap()
}

#[test]
fn every_pair_sends_and_receives() {
    let (machine, (ports, wires)) = (Machine::new(), wires());
    let device = device(ports);
    assert_eq!((device.queue_sizes().len(), device.threads()), (7, 3));
    let mut driver = Hostile::new(&machine, device);
    assert_eq!(driver.read(0x108) & 0xffff, 3, "the number of pairs");
    driver.start(COMMON | PAIRS, 32);
    driver.memory.write_slice(&[0; 72], GuestAddress(BUFFERS)).unwrap();
    for (pair, wire) in (0..).zip(&wires) {
        driver.describe(2 * pair + 1, 0, &[Buffer(BUFFERS, 72, 0, 0)]);
        driver.offer(2 * pair + 1, 0);
        assert_eq!(wire.recv(&mut [0; 2048]).unwrap(), 72);
        driver.describe(2 * pair, 0, &[Buffer(BUFFERS + 4096, 2048, WRITE, 0)]);
        driver.offer(2 * pair, 0);
        wire.send(&[1; 100]).unwrap();
        assert_eq!(driver.wait_used(2 * pair, 1), (0, 100));
    }
}

#[test]
fn hostile_commands_are_refused_and_the_device_goes_on() {
    in_own_network("hostile_commands_are_refused_and_the_device_goes_on", || {
        let made = std::process::Command::new("ip")
            .args("tuntap add many0 mode tap multi_queue".split(' '))
            .status();
        assert!(made.unwrap().success());
        let ports = Tap::open_queues("many0", 3).unwrap().into_iter().map(Port::Tap).collect();
        let machine = Machine::new();
        let mut driver = Hostile::new(&machine, device(ports));
        driver.start(COMMON | PAIRS, 32);
        let refused: [&[u8]; 11] = [
            &[4, 0, 0, 0],
            &[4, 0, 4, 0],
            &[4, 0, 0xff, 0xff],
            &[4, 0, 3],
            &[4, 0, 3, 0, 0],
            &[4, 1, 3, 0],
            &[4, 2, 3, 0],
            &[0, 0, 1, 0],
            &[1, 1, 6, 0],
            &[0xff; 4],
            &[4],
        ];
        let mut round = 0;
        for bytes in refused {
            round += 1;
            assert_eq!(command(&mut driver, round, bytes), 1, "{bytes:?}");
        }
        for pairs in [3, 1, 2, 2, 3, 1] {
            round += 1;
            assert_eq!(command(&mut driver, round, &[4, 0, pairs, 0]), 0, "{pairs}");
        }
        // Without room for an answer, without a command, without memory.
        let odd: [&[Buffer]; 3] = [
            &[Buffer(BUFFERS, 4, 0, 0)],
            &[Buffer(BUFFERS, 1, WRITE, 0)],
            &[Buffer(1 << 50, 4, NEXT, 1), Buffer(BUFFERS + 64, 1, WRITE, 0)],
        ];
        for chain in odd {
            round += 1;
            driver.describe(CONTROL, 0, chain);
            driver.offer(CONTROL, 0);
            driver.wait_used(CONTROL, round);
        }
        round += 1;
        assert_eq!(command(&mut driver, round, &[4, 0, 3, 0]), 0);
    });
}

#[test]
fn a_driver_that_knows_one_pair_gets_one_and_the_control_queue_behind_it() {
    let (machine, (ports, wires)) = (Machine::new(), wires());
    let mut driver = Hostile::new(&machine, device(ports));
    driver.start(COMMON | 1 << VIRTIO_NET_F_CTRL_VQ, 32);
    driver.memory.write_slice(&[4, 0, 2, 0], GuestAddress(BUFFERS)).unwrap();
    driver.describe(2, 0, &[Buffer(BUFFERS, 4, NEXT, 1), Buffer(BUFFERS + 64, 1, WRITE, 0)]);
    driver.offer(2, 0);
    assert_eq!(driver.wait_used(2, 1), (0, 1));
    assert_eq!(driver.memory.read_obj::<u8>(GuestAddress(BUFFERS + 64)).unwrap(), 1, "there is one pair");
    driver.describe(1, 0, &[Buffer(BUFFERS, 72, 0, 0)]);
    driver.offer(1, 0);
    assert_eq!(wires[0].recv(&mut [0; 2048]).unwrap(), 72);
}
