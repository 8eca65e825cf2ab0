use std::time::{Duration, Instant};

use vm_memory::GuestAddress;

use super::*;
use crate::config::{RateLimiter, TokenBucket};
use crate::memory::FileMapping;
use crate::virtio::driver::{Buffer, Hostile, Machine, NEXT, WRITE, wait_for};
use crate::virtio::features::COMMON;
use crate::virtio::pmem::{PmemDevice, PmemHandle, PmemRegion};

const SIZE: u64 = 4096;
const REQUEST: u64 = 0x4_0000;
const ANSWER: u64 = 0x5_0000;
const UNTOUCHED: u32 = 0xeeee_eeee;

struct Memory {
    driver: Hostile,
    handle: PmemHandle,
    metrics: Arc<PmemMetrics>,
    _machine: Machine,
}

impl Memory {
    fn new(limits: RateLimiter, read_only: bool) -> Memory {
        let file = tempfile::tempfile().unwrap();
        file.set_len(SIZE).unwrap();
        let raw = RawDrive::from_file(file).unwrap();
        let mapping = Arc::new(FileMapping::new(raw.file(), SIZE, read_only).unwrap());
        let region = PmemRegion { address: 1 << 32, mapping };
        let metrics = Arc::<PmemMetrics>::default();
        let device = PmemDevice::new("pmem", region, raw, &limits, metrics.clone()).unwrap();
        let (handle, machine) = (device.handle(), Machine::new());
        let mut driver = Hostile::new(&machine, device);
        driver.start(COMMON, 64);
        Memory { driver, handle, metrics, _machine: machine }
    }

    /// Describes a request of `kind` in the chain that starts at descriptor `2 * index`.
    fn describe(&mut self, index: u16, kind: u32, length: u32, room: u32) -> u16 {
        let at = u64::from(index) * 16;
        self.driver.memory.write_obj(kind, GuestAddress(REQUEST + at)).unwrap();
        self.driver.memory.write_obj(UNTOUCHED, GuestAddress(ANSWER + at)).unwrap();
        let head = 2 * index;
        let chain = [Buffer(REQUEST + at, length, NEXT, head + 1), Buffer(ANSWER + at, room, WRITE, 0)];
        self.driver.describe(0, head, &chain);
        head
    }

    fn answer(&self, index: u16) -> u32 {
        self.driver.memory.read_obj(GuestAddress(ANSWER + u64::from(index) * 16)).unwrap()
    }

    /// Sends one request; returns its answer and the used length.
    fn request(&mut self, kind: u32, length: u32, room: u32) -> (u32, u32) {
        let head = self.describe(0, kind, length, room);
        let before = self.driver.used(0);
        self.driver.offer(0, head);
        let (_, written) = self.driver.wait_used(0, before.wrapping_add(1));
        (self.answer(0), written)
    }
}

#[test]
fn the_driver_finds_the_region_and_gets_its_flushes() {
    for read_only in [false, true] {
        let mut memory = Memory::new(RateLimiter::default(), read_only);
        assert_eq!(memory.driver.read(0x008), 27);
        let config = [0x100, 0x104, 0x108, 0x10c].map(|offset| memory.driver.read(offset));
        assert_eq!(config, [0, 1, 2 << 20, 0]);
        assert_eq!(memory.request(FLUSH, 4, 4), (DONE, 4));
        assert_eq!(memory.metrics.flush_count.total(), 1);
    }
}

#[test]
fn what_is_no_flush_fails_and_harms_nobody() {
    let mut memory = Memory::new(RateLimiter::default(), false);
    for kind in [1, 2, u32::MAX] {
        assert_eq!(memory.request(kind, 4, 4), (FAILED, 4));
    }
    assert_eq!(memory.request(FLUSH, 3, 4), (FAILED, 4));
    assert_eq!(memory.request(FLUSH, 0, 4), (FAILED, 4));
    assert_eq!(memory.request(FLUSH, 4, 3), (UNTOUCHED, 0));
    assert_eq!(memory.request(FLUSH, 4, 0), (UNTOUCHED, 0));
    assert_eq!(memory.request(FLUSH, 16, 16), (DONE, 4));
    // In no memory at all.
    memory.driver.describe(0, 0, &[Buffer(1 << 40, 4, NEXT, 1), Buffer(ANSWER, 4, WRITE, 0)]);
    memory.driver.offer(0, 0);
    memory.driver.wait_broken();
    memory.driver.start(COMMON, 64);
    memory.driver.describe(0, 0, &[Buffer(REQUEST, 4, NEXT, 1), Buffer((1 << 20) - 2, 4, WRITE, 0)]);
    memory.driver.offer(0, 0);
    memory.driver.wait_broken();
    memory.driver.start(COMMON, 64);
    assert_eq!(memory.request(FLUSH, 4, 4), (DONE, 4));
}

#[test]
fn the_region_itself_is_no_place_for_requests() {
    // The device's own file must not be reached through rings and buffers: it may be read-only, or cut short.
    let mut memory = Memory::new(RateLimiter::default(), true);
    memory.driver.describe(0, 0, &[Buffer(REQUEST, 4, NEXT, 1), Buffer(1 << 32, 4, WRITE, 0)]);
    memory.driver.offer(0, 0);
    memory.driver.wait_broken();
}

#[test]
fn requests_that_wait_together_share_a_flush_and_its_cost() {
    let bucket = |size| Some(TokenBucket { size, one_time_burst: None, refill_time: 3_600_000 });
    let limits = RateLimiter { bandwidth: bucket(SIZE), ops: None };
    let mut memory = Memory::new(limits, false);
    assert_eq!(memory.request(FLUSH, 4, 4), (DONE, 4));
    for index in 0..20 {
        let head = memory.describe(index, FLUSH, 4, 4);
        memory.driver.offer(0, head);
    }
    let metrics = memory.metrics.clone();
    wait_for("the throttle", || metrics.rate_limiter_throttled_events.total() == 1);
    assert_eq!((memory.driver.used(0), memory.answer(19)), (1, UNTOUCHED));
    let start = Instant::now();
    memory.handle.change_limits(&RateLimiter { bandwidth: bucket(0), ops: None });
    memory.driver.wait_used(0, 21);
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!((0..20).all(|index| memory.answer(index) == DONE));
    assert_eq!((metrics.flush_count.total(), metrics.rate_limiter_event_count.total()), (2, 1));
}
