//! Guests that write anything anywhere, on every device: the loop lives, and a reset brings the device back.

use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vm_memory::{Bytes, GuestAddress};

use super::balloon::{BalloonDevice, BalloonHandle};
use super::block::{BlockDevice, BlockSpec};
use super::console::{ConsoleDevice, Typed};
use super::device::VirtioDevice;
use super::driver::{Hostile, Machine};
use super::features::COMMON;
use super::net::NetDevice;
use super::pmem::{PmemDevice, PmemRegion};
use super::rng::RngDevice;
use super::vsock::VsockDevice;
use crate::config::RateLimiter;
use crate::console::{Console, InputPort};
use crate::drive::RawDrive;
use crate::memory::FileMapping;
use crate::mmds::Mmds;
use crate::net::Tap;

/// How long each device is tormented.
const TIME: Duration = Duration::from_millis(400);

/// Marsaglia's xorshift: what goes wrong can be played again.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Small numbers, addresses in and around memory, and anything.
    fn value(&mut self) -> u64 {
        match self.below(4) {
            0 => self.below(16),
            1 => 1 << self.below(64),
            2 => self.below(0x30_0000),
            _ => self.next(),
        }
    }
}

/// One random act: at the registers, in the rings and tables, in the buffers.
fn torment(driver: &mut Hostile, chance: &mut Chance, queues: u64) {
    let memory = driver.memory.clone();
    let queue = chance.below(queues);
    let base = 0x1_0000 + queue * 0x8000;
    match chance.below(16) {
        0 => {
            let width = 1 << chance.below(4);
            driver.access(chance.below(0x140), width, chance.value());
        }
        1 if driver.broken() || chance.below(50) == 0 => driver.start(COMMON, 1 << chance.below(6)),
        2..=6 => {
            // A descriptor that is mostly sound.
            let place = base + 16 * chance.below(16);
            let address =
                if chance.below(8) == 0 { chance.value() } else { 0x4_0000 + chance.below(0x8_0000) };
            memory.write_obj(address, GuestAddress(place)).unwrap();
            memory.write_obj(chance.below(3000) as u32, GuestAddress(place + 8)).unwrap();
            memory.write_obj(chance.below(8) as u16, GuestAddress(place + 12)).unwrap();
            memory.write_obj(chance.below(17) as u16, GuestAddress(place + 14)).unwrap();
        }
        7 => {
            // Something that may be a header.
            let place = 0x4_0000 + chance.below(0x8_0000);
            for index in 0..6 {
                memory.write_obj(chance.value(), GuestAddress(place + 8 * index)).unwrap();
            }
        }
        8 => memory.write_obj(chance.value(), GuestAddress(base + 8 * chance.below(0x1000))).unwrap(),
        9 => {
            let position: u16 = memory.read_obj(GuestAddress(base + 0x2002)).unwrap();
            driver.jump(queue as u16, position.wrapping_add(chance.below(12) as u16));
        }
        _ => driver.offer(queue as u16, chance.below(16) as u16),
    }
}

fn survives(device: impl VirtioDevice + 'static, seed: u64) {
    let machine = Machine::new();
    let queues = device.queue_sizes().len() as u64;
    let mut driver = Hostile::new(&machine, device);
    let mut chance = Chance(seed);
    let start = Instant::now();
    driver.start(COMMON, 16);
    while start.elapsed() < TIME {
        for _ in 0..100 {
            torment(&mut driver, &mut chance, queues);
        }
    }
    driver.start(COMMON, 16);
    // Another device of the same loop is served as if nothing had happened.
    let mut other = Hostile::new(&machine, RngDevice::plain("other"));
    other.start(COMMON, 16);
    other.describe(0, 0, &[super::driver::Buffer(0x4_0000, 8, super::driver::WRITE, 0)]);
    other.offer(0, 0);
    assert_eq!(other.wait_used(0, 1), (0, 8));
}

#[test]
fn entropy() {
    for seed in [1, 0xdead_beef] {
        survives(RngDevice::plain("rng"), seed);
    }
}

#[test]
fn block() {
    for (seed, uring) in [(2, false), (0xfeed_f00d, false), (5, true), (0x0dd_ba11, true)] {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        let spec = BlockSpec { flush: true, uring, ..BlockSpec::default() };
        survives(BlockDevice::of(&file, spec), seed);
        assert_eq!(file.metadata().unwrap().len(), 1 << 20, "the file grew");
    }
}

#[test]
fn pmem() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 20).unwrap();
    let raw = RawDrive::from_file(file).unwrap();
    let mapping = FileMapping::new(raw.file(), raw.size(), false).unwrap();
    let region = PmemRegion { address: 1 << 32, mapping: Arc::new(mapping) };
    survives(PmemDevice::new("pmem", region, raw, &RateLimiter::default(), Arc::default()).unwrap(), 6);
}

#[test]
fn net() {
    for seed in [3, 0xabad_cafe] {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        // The other end sends back what it gets, now and then.
        let echo = std::thread::spawn(move || {
            let start = Instant::now();
            let mut frame = [0; 4096];
            while start.elapsed() < TIME * 2 {
                if let Ok(length) = theirs.recv(&mut frame) {
                    let _ = theirs.send(&frame[..length.max(1)]);
                } else {
                    std::thread::sleep(Duration::from_micros(100));
                }
            }
        });
        let config = serde_json::from_value(serde_json::json!({"network_interfaces": ["eth0"]})).unwrap();
        let mmds = Mmds::new(1000, Arc::default());
        survives(NetDevice::plain(Tap::from_socket(ours), [2; 6]).with_metadata(mmds, config), seed);
        echo.join().unwrap();
    }
}

#[test]
fn balloon() {
    for seed in [5, 0xb100_b100] {
        let spec = serde_json::json!({
            "amount_mib": 1, "deflate_on_oom": true, "stats_polling_interval_s": 1,
            "free_page_hinting": true, "free_page_reporting": true,
        });
        let handle = BalloonHandle::new(&serde_json::from_value(spec).unwrap());
        survives(BalloonDevice::new(handle, Default::default()), seed);
    }
}

#[test]
fn vsock() {
    for seed in [4, 0x0bad_5eed] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.sock");
        survives(VsockDevice::new("vsock", 3, path, Default::default()).unwrap(), seed);
    }
}

#[test]
fn console() {
    for seed in [7, 0xc0_50_1e] {
        let typed = Typed::new().unwrap();
        typed.receive(&[b'x'; 4096]);
        survives(ConsoleDevice::new("console", Console::to_nowhere(), typed, Default::default()), seed);
    }
}

const NONE: [u32; 0] = [];

/// The bits of a device's features, without those that all have.
fn features(device: &dyn VirtioDevice) -> Vec<u32> {
    assert_eq!(device.features() & COMMON, COMMON);
    (0..64).filter(|bit| (device.features() & !COMMON) >> bit & 1 != 0).collect()
}

#[test]
fn devices_offer_what_is_on_this_list_and_nothing_else() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 20).unwrap();
    // SEG_MAX, RO, FLUSH, DISCARD, WRITE_ZEROES; no SCSI (7), several queues (12), secure erase (16), zones (17).
    let block =
        |read_only, flush| BlockDevice::of(&file, BlockSpec { read_only, flush, ..BlockSpec::default() });
    assert_eq!(features(&block(false, true)), [2, 9, 13, 14]);
    assert_eq!(features(&block(true, false)), [2, 5]);
    let raw = RawDrive::from_file(file.try_clone().unwrap()).unwrap();
    let mapping = FileMapping::new(raw.file(), raw.size(), false).unwrap();
    let region = PmemRegion { address: 1 << 32, mapping: Arc::new(mapping) };
    let pmem = PmemDevice::new("pmem", region, raw, &RateLimiter::default(), Arc::default()).unwrap();
    assert_eq!(features(&pmem), NONE);
    assert_eq!(features(&RngDevice::plain("rng")), NONE);
    let folder = tempfile::tempdir().unwrap();
    let vsock = VsockDevice::new("vsock", 3, folder.path().join("v"), Default::default()).unwrap();
    // Neither datagrams (1) nor sequences of packets.
    assert_eq!(features(&vsock), NONE);
    // Checksums, segmentation, the address, merged buffers; no control queue (17), announcements (21), several
    // pairs of queues (22), hashes (57), receive side scaling (60).
    let net = NetDevice::plain(Tap::from_socket(UnixDatagram::pair().unwrap().0), [2; 6]);
    assert_eq!(features(&net), [0, 1, 5, 7, 8, 10, 11, 12, 14, 15]);
    let spec = serde_json::json!({
        "amount_mib": 1, "deflate_on_oom": true, "stats_polling_interval_s": 1,
        "free_page_hinting": true, "free_page_reporting": true,
    });
    // Statistics, deflation, hints, reports; no page poisoning (4).
    let balloon = BalloonHandle::new(&serde_json::from_value(spec).unwrap());
    assert_eq!(features(&BalloonDevice::new(balloon, Default::default())), [1, 2, 3, 5]);
    // Single characters; neither a size (0) nor several ports (1).
    let typed = Typed::new().unwrap();
    let console = ConsoleDevice::new("console", Console::to_nowhere(), typed, Default::default());
    assert_eq!(features(&console), [2]);
}
