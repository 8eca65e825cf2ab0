use virtio_drivers::device::rng::VirtIORng;

use crate::virtio::driver::{ArenaHal, Buffer, Hostile, Machine, NEXT, WRITE};
use crate::virtio::features::COMMON;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{RateLimiter, TokenBucket};
use crate::metrics::EntropyMetrics;
use crate::virtio::rng::RngDevice;

#[test]
fn limits_hold_requests_back_and_lose_none() {
    let machine = Machine::new();
    let ops = TokenBucket { size: 1, one_time_burst: None, refill_time: 200 };
    let limits = RateLimiter { bandwidth: None, ops: Some(ops) };
    let metrics = Arc::<EntropyMetrics>::default();
    let device = RngDevice::new("rng", &limits, metrics.clone()).unwrap();
    let mut rng = VirtIORng::<ArenaHal, _>::new(machine.window(device)).unwrap();
    let start = Instant::now();
    for _ in 0..4 {
        assert_eq!(rng.request_entropy(&mut [0; 64]).unwrap(), 64);
    }
    assert!(start.elapsed() >= Duration::from_millis(595), "{:?}", start.elapsed());
    assert_eq!(metrics.entropy_bytes.total(), 256);
    assert_eq!(metrics.entropy_rate_limiter_throttled.total(), 3);
}

#[test]
fn a_guest_gains_nothing_by_a_reset() {
    let machine = Machine::new();
    let ops = TokenBucket { size: 1, one_time_burst: None, refill_time: 3_600_000 };
    let limits = RateLimiter { bandwidth: None, ops: Some(ops) };
    let metrics = Arc::<EntropyMetrics>::default();
    let device = RngDevice::new("rng", &limits, metrics.clone()).unwrap();
    let mut driver = Hostile::new(&machine, device);
    driver.start(COMMON, 8);
    driver.describe(0, 0, &[Buffer(0x4_0000, 16, WRITE, 0)]);
    driver.offer(0, 0);
    driver.wait_used(0, 1);
    driver.start(COMMON, 8);
    driver.describe(0, 0, &[Buffer(0x4_0000, 16, WRITE, 0)]);
    driver.offer(0, 0);
    let end = Instant::now() + Duration::from_secs(10);
    while metrics.entropy_rate_limiter_throttled.total() == 0 && metrics.entropy_event_count.total() == 1 {
        assert!(Instant::now() < end, "the request is neither served nor held back");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(metrics.entropy_event_count.total(), 1);
}

#[test]
fn a_strangers_driver_gets_random_bytes() {
    let machine = Machine::new();
    let mut rng = VirtIORng::<ArenaHal, _>::new(machine.window(RngDevice::plain("rng"))).unwrap();
    let (mut first, mut second) = ([0; 64], [0; 64]);
    assert_eq!(rng.request_entropy(&mut first).unwrap(), 64);
    assert_eq!(rng.request_entropy(&mut second).unwrap(), 64);
    assert_ne!(first, [0; 64]);
    assert_ne!(first, second);
}

#[test]
fn requests_are_bounded_and_odd_ones_harmless() {
    let machine = Machine::new();
    let mut driver = Hostile::new(&machine, RngDevice::plain("rng"));
    driver.start(COMMON, 8);
    // 512 KiB in one request: 64 KiB is given.
    driver.describe(0, 0, &[Buffer(0x4_0000, 512 * 1024, WRITE, 0)]);
    driver.offer(0, 0);
    assert_eq!(driver.wait_used(0, 1), (0, 64 * 1024));
    // Nothing to write to.
    driver.describe(0, 1, &[Buffer(0x4_0000, 16, NEXT, 2), Buffer(0x4_0000, 0, WRITE, 0)]);
    driver.offer(0, 1);
    assert_eq!(driver.wait_used(0, 2), (1, 0));
    // Not a multiple of anything, in pieces.
    driver.describe(0, 1, &[Buffer(0x4_0000, 1, WRITE | NEXT, 2), Buffer(0x4_1000, 1500, WRITE, 0)]);
    driver.offer(0, 1);
    assert_eq!(driver.wait_used(0, 3), (1, 1501));
    // u32::MAX bytes, far beyond memory: the first 64 KiB lie in it.
    driver.describe(0, 0, &[Buffer(0x4_0000, u32::MAX, WRITE, 0)]);
    driver.offer(0, 0);
    assert_eq!(driver.wait_used(0, 4), (0, 64 * 1024));
    // Into the hole.
    driver.describe(0, 0, &[Buffer((1 << 20) - 1, 2, WRITE, 0)]);
    driver.offer(0, 0);
    driver.wait_broken();
}
