//! A hostile driver whose queues the kernel serves. On a host without vhost there is nothing to be hostile to but
//! the sentence that says so.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use vm_memory::Bytes;

use super::*;
use crate::net::in_own_network;
use crate::virtio::driver::{Buffer, Hostile, INDIRECT, Machine, NEXT, WRITE, wait_for};
use crate::virtio::features::COMMON;
use crate::virtio::net::NetDevice;

const BUFFERS: u64 = 0x8_0000;
const FRAME: u32 = 72;

/// An interface that the kernel serves; None where there is no kernel for that, which then says so.
fn kernel(name: &str, memory: &GuestMemory) -> Option<NetDevice> {
    let vhost = match Vhost::open(memory) {
        Ok(vhost) => vhost,
        Err(error) => {
            assert_eq!(error.to_string(), "Cannot open /dev/vhost-net");
            assert!(!Path::new("/dev/vhost-net").exists(), "{}", crate::chain(&error));
            return None;
        }
    };
    let spec = json!({"iface_id": "eth0", "host_dev_name": name, "vhost": true});
    let tap = Tap::new_for_test(name, "10.77.0.1/24");
    let device =
        NetDevice::new(&serde_json::from_value(spec).unwrap(), vec![Port::Tap(tap)], Arc::default()).unwrap();
    Some(device.with_vhost(vec![vhost]))
}

#[test]
fn the_kernel_is_never_told_to_log_or_to_translate() {
    // VHOST_F_LOG_ALL (CVE-2019-14835), VHOST_NET_F_VIRTIO_NET_HDR, VIRTIO_F_ACCESS_PLATFORM.
    assert_eq!(FEATURES & (1 << 26 | 1 << 27 | 1 << 33), 0);
}

/// Sends a broadcast of nothing, which is used in one step.
fn sends(driver: &mut Hostile, round: u16) {
    driver.memory.write_slice(&[0; FRAME as usize], GuestAddress(BUFFERS)).unwrap();
    driver.memory.write_slice(&[0xff; 6], GuestAddress(BUFFERS + 12)).unwrap();
    driver.describe(1, 0, &[Buffer(BUFFERS, FRAME, 0, 0)]);
    driver.offer(1, 0);
    driver.wait_used(1, round);
    // The flags of the available ring are 0 and no event index was agreed on: it is interrupted.
    wait_for("the interrupt", || driver.interrupts() != 0);
    assert_eq!((driver.read(0x060), driver.read(0x060)), (1, 0), "buffers were used, and that is told once");
}

#[test]
fn whatever_a_driver_writes_it_may_start_over() {
    in_own_network("whatever_a_driver_writes_it_may_start_over", || {
        let machine = Machine::new();
        let memory = crate::virtio::driver::hostile_memory();
        let Some(device) = kernel("evil0", &memory) else { return };
        let mut driver = Hostile::with_memory(&machine, device, memory);
        let plain = COMMON & !features::EVENT_INDEX;
        driver.start(plain, 32);
        sends(&mut driver, 1);
        let nonsense: [&[Buffer]; 6] = [
            // Outside of memory, in its hole, over its end, a loop, a next that is none, a table that is no table.
            &[Buffer(1 << 50, FRAME, 0, 0)],
            &[Buffer(0x14_0000, FRAME, 0, 0)],
            &[Buffer(0x2f_fff0, FRAME, 0, 0)],
            &[Buffer(BUFFERS, FRAME, NEXT, 0)],
            &[Buffer(BUFFERS, FRAME, NEXT, 32)],
            &[Buffer(BUFFERS, 17, INDIRECT, 0)],
        ];
        for chain in nonsense {
            driver.start(plain, 32);
            driver.describe(1, 0, chain);
            driver.offer(1, 0);
            driver.wait_broken();
            driver.start(plain, 32);
            sends(&mut driver, 1);
        }
        // A position that is too far ahead, and a head that is none.
        driver.start(plain, 32);
        driver.jump(1, 33);
        driver.wait_broken();
        driver.start(plain, 32);
        driver.offer(1, 32);
        driver.wait_broken();
        // What is to be written in a queue that is only read.
        driver.start(plain, 32);
        driver.describe(1, 0, &[Buffer(BUFFERS, FRAME, WRITE, 0)]);
        driver.offer(1, 0);
        driver.wait_broken();
        for _ in 0..100 {
            driver.start(plain, 32);
        }
        sends(&mut driver, 1);
    });
}
