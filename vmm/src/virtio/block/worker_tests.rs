use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::config::{RateLimiter, TokenBucket};
use crate::drive::RawDrive;
use crate::virtio::block::engine::Engine;
use crate::virtio::block::uring::Uring;
use crate::virtio::block::{BlockDevice, BlockHandle, BlockSpec};
use crate::virtio::driver::{Buffer, Hostile, Machine, NEXT, WRITE, wait_for};
use crate::virtio::features::COMMON;

const READ: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
/// Each head has its header, status and data at its own place.
const HEADERS: u64 = 0x8000;
const STATUSES: u64 = 0x9000;
const DATA: u64 = 0x4_0000;
const SIZE: u64 = 4096;
/// How many requests a driver that behaves has in flight.
const DEPTH: u16 = 20;
/// What the status byte is before the device writes it.
const UNTOUCHED: u8 = 0xee;

/// A file whose pages have their own number in each byte.
fn disk(pages: u64) -> File {
    let mut file = tempfile::tempfile().unwrap();
    (0..pages).for_each(|page| file.write_all(&[page as u8; SIZE as usize]).unwrap());
    file
}

struct Drive {
    driver: Hostile,
    handle: BlockHandle,
    _machine: Machine,
}

impl Drive {
    fn new(file: &File, spec: BlockSpec) -> Drive {
        let machine = Machine::new();
        let device = BlockDevice::of(file, spec);
        let handle = device.handle();
        let mut driver = Hostile::new(&machine, device);
        driver.start(COMMON, 64);
        Drive { driver, handle, _machine: machine }
    }

    /// Describes a request for a page in the chain that starts at descriptor `3 * index`, and offers it.
    fn offer(&mut self, index: u16, kind: u32, page: u64) -> u16 {
        self.offer_on(0, index, kind, page)
    }

    /// The same on any queue.
    fn offer_on(&mut self, queue: u16, index: u16, kind: u32, page: u64) -> u16 {
        let head = self.describe(queue, index, kind, page);
        self.driver.offer(queue, head);
        head
    }

    fn describe(&mut self, queue: u16, index: u16, kind: u32, page: u64) -> u16 {
        let (head, at) = (3 * index, u64::from(index));
        let flags = if kind == READ { WRITE } else { 0 };
        let header = HEADERS + 16 * at;
        self.driver.memory.write_obj(u64::from(kind), GuestAddress(header)).unwrap();
        self.driver.memory.write_obj(page * SIZE / 512, GuestAddress(header + 8)).unwrap();
        self.driver.memory.write_obj(UNTOUCHED, GuestAddress(STATUSES + at)).unwrap();
        let data =
            Buffer(DATA + at * SIZE, if kind == FLUSH { 0 } else { SIZE as u32 }, flags | NEXT, head + 2);
        let status = Buffer(STATUSES + at, 1, WRITE, 0);
        self.driver.describe(queue, head, &[Buffer(header, 16, NEXT, head + 1), data, status]);
        head
    }

    /// Offers reads of pages `from..to` and notifies as the device asked to be.
    fn offer_as_asked(&mut self, from: u16, to: u16) {
        for position in from..to {
            let index = position % DEPTH;
            self.describe(0, index, READ, (position % 64).into());
            self.driver.offer_silently(0, 3 * index);
        }
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        let asked = self.driver.available_event(0);
        if to.wrapping_sub(asked).wrapping_sub(1) < to.wrapping_sub(from) {
            self.driver.notify(0);
        }
    }

    fn status(&self, index: u16) -> u8 {
        self.driver.memory.read_obj(GuestAddress(STATUSES + u64::from(index))).unwrap()
    }

    fn data(&self, index: u16) -> [u8; SIZE as usize] {
        let mut data = [0; SIZE as usize];
        self.driver.memory.read_slice(&mut data, GuestAddress(DATA + u64::from(index) * SIZE)).unwrap();
        data
    }

    fn capacity(&self) -> u64 {
        u64::from(self.driver.read(0x100)) | u64::from(self.driver.read(0x104)) << 32
    }

    fn metrics(&self) -> Arc<BlockMetrics> {
        self.handle.0.metrics.clone()
    }
}

fn spec(uring: bool) -> BlockSpec {
    BlockSpec { flush: true, uring, ..BlockSpec::default() }
}

/// A drive with queues of its own number.
fn several(queues: u8, uring: bool) -> BlockSpec {
    BlockSpec { queues, ..spec(uring) }
}

fn limits(size: u64, refill_time: u64) -> RateLimiter {
    let bucket = TokenBucket { size, one_time_burst: None, refill_time };
    RateLimiter { bandwidth: None, ops: Some(bucket) }
}

#[test]
fn limits_hold_requests_back_and_can_be_lifted() {
    for uring in [false, true] {
        let file = disk(8);
        let mut drive = Drive::new(&file, BlockSpec { limits: limits(2, 3_600_000), ..spec(uring) });
        for index in 0..4 {
            drive.offer(index, READ, index.into());
        }
        drive.driver.wait_used(0, 2);
        let metrics = drive.metrics();
        wait_for("the throttle", || metrics.rate_limiter_throttled_events.total() == 1);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!((drive.driver.used(0), drive.status(2)), (2, UNTOUCHED));
        drive.handle.change_limits(&limits(0, 0));
        drive.driver.wait_used(0, 4);
        assert!((0..4).all(|index| drive.status(index) == 0 && drive.data(index)[0] == index as u8));
        assert_eq!(metrics.rate_limiter_event_count.total(), 1);
        assert_eq!((metrics.read_count.total(), metrics.read_bytes.total()), (4, 4 * SIZE));
        assert!(metrics.read_agg.sum_us.total() >= metrics.read_agg.max_us.value());
    }
}

#[test]
fn bandwidth_counts_data() {
    for uring in [false, true] {
        let file = disk(8);
        let bandwidth = TokenBucket { size: SIZE, one_time_burst: None, refill_time: 20 };
        let limits = RateLimiter { bandwidth: Some(bandwidth), ops: None };
        let mut drive = Drive::new(&file, BlockSpec { limits, ..spec(uring) });
        let start = Instant::now();
        for round in 0..5 {
            drive.offer(0, if round % 2 == 0 { READ } else { OUT }, 0);
            drive.driver.wait_used(0, round + 1);
        }
        assert!(start.elapsed() >= Duration::from_millis(55), "{:?}", start.elapsed());
        drive.driver.start(COMMON, 64);
        drive.offer(0, FLUSH, 0);
        drive.driver.wait_used(0, 1);
        assert_eq!(drive.metrics().flush_count.total(), 1);
    }
}

#[test]
fn another_file_is_told_to_the_driver_and_served() {
    for uring in [false, true] {
        let (first, second) = (disk(4), tempfile::tempfile().unwrap());
        second.set_len(1 << 42).unwrap();
        second.write_all_at(&[0x77; 4096], 0).unwrap();
        let mut drive = Drive::new(&first, spec(uring));
        assert_eq!(drive.capacity(), 32);
        let generation = drive.driver.read(0x0fc);
        drive.handle.change_file(RawDrive::from_file(second.try_clone().unwrap()).unwrap());
        assert_eq!(drive.driver.read(0x060) & 2, 2, "a configuration interrupt");
        assert_ne!(drive.driver.read(0x0fc), generation);
        assert_eq!(drive.capacity(), 1 << 33);
        drive.offer(0, READ, 0);
        drive.driver.wait_used(0, 1);
        assert_eq!(drive.data(0), [0x77; 4096]);
        drive.offer(1, OUT, (1 << 30) - 1);
        drive.driver.wait_used(0, 2);
        assert_eq!(drive.status(1), 0);
        assert_eq!(first.metadata().unwrap().len(), 4 * SIZE);
        // Without a driver nobody is interrupted, and the next one finds the new size.
        drive.driver.write(0x070, 0);
        drive.driver.interrupts();
        drive.handle.change_file(RawDrive::from_file(first.try_clone().unwrap()).unwrap());
        assert_eq!((drive.driver.interrupts(), drive.driver.read(0x060)), (0, 0));
        drive.driver.start(COMMON, 64);
        assert_eq!(drive.capacity(), 32);
        drive.offer(0, READ, 4);
        drive.driver.wait_used(0, 1);
        assert_eq!(drive.status(0), 1);
        assert_eq!(drive.metrics().update_count.total(), 2);
    }
}

/// A read that lands when the test wants: of a pipe, which the drive's rules would refuse.
struct Slow {
    drive: Drive,
    pipe: std::io::PipeWriter,
}

impl Slow {
    fn new() -> Slow {
        let drive = Drive::new(&disk(64), spec(true));
        let (read, pipe) = std::io::pipe().unwrap();
        let raw = RawDrive::endless(File::from(std::os::fd::OwnedFd::from(read)));
        drive.handle.change_file(raw);
        Slow { drive, pipe }
    }

    /// Offers a read of what has not been written yet, and waits until it is in flight.
    fn offer(&mut self, index: u16) -> u16 {
        let events = self.drive.metrics().queue_event_count.total();
        let head = self.drive.offer(index, READ, 0);
        wait_for("the device to take it", || self.drive.metrics().queue_event_count.total() > events);
        // The turn that took it is over when the state is free.
        drop(self.drive.handle.0.state(0));
        head
    }
}

#[test]
fn what_lands_first_is_answered_first() {
    let mut slow = Slow::new();
    slow.offer(0);
    // Another file for those that come later; the first stays with its own.
    slow.drive.handle.change_file(RawDrive::from_file(disk(64)).unwrap());
    for index in 1..4 {
        slow.drive.offer(index, READ, index.into());
    }
    let heads: Vec<u32> = (1..4).map(|count| slow.drive.driver.wait_used_any(0, count).0).collect();
    assert_eq!((heads.contains(&0), slow.drive.status(0)), (false, UNTOUCHED));
    // In two parts: the first is a short read.
    slow.pipe.write_all(&[0x11; 1000]).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(slow.drive.status(0), UNTOUCHED);
    slow.pipe.write_all(&[0x22; 3096]).unwrap();
    assert_eq!(slow.drive.driver.wait_used(0, 4), (0, 4097));
    let data = slow.drive.data(0);
    assert!(data[..1000] == [0x11; 1000] && data[1000..] == [0x22; 3096]);
    assert!((1..4).all(|index| slow.drive.data(index)[0] == index as u8));
}

#[test]
fn a_read_that_ends_early_fails() {
    let mut slow = Slow::new();
    slow.offer(0);
    slow.pipe.write_all(&[0x11; 1000]).unwrap();
    drop(slow.pipe);
    slow.drive.driver.wait_used(0, 1);
    assert_eq!(slow.drive.status(0), 1);
    assert_eq!(slow.drive.metrics().execute_fails.total(), 1);
}

#[test]
fn a_chain_that_is_offered_again_in_flight_breaks_the_device_alone() {
    let mut slow = Slow::new();
    let head = slow.offer(0);
    slow.drive.driver.offer(0, head);
    // The device may not go on before its flights have landed: they write to the guest's memory.
    std::thread::sleep(Duration::from_millis(20));
    assert!(!slow.drive.driver.broken());
    slow.pipe.write_all(&[0x11; 4096]).unwrap();
    slow.drive.driver.wait_broken();
    assert_eq!(slow.drive.driver.used(0), 0);
    slow.drive.handle.change_file(RawDrive::from_file(disk(4)).unwrap());
    slow.drive.driver.start(COMMON, 64);
    slow.drive.offer(1, READ, 3);
    slow.drive.driver.wait_used(0, 1);
    assert_eq!(slow.drive.data(1), [3; 4096]);
}

#[test]
fn a_reset_waits_for_what_is_in_flight() {
    let mut slow = Slow::new();
    slow.offer(0);
    slow.offer(1);
    let late = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        slow.pipe.write_all(&[0x11; 8192]).unwrap();
    });
    let start = Instant::now();
    slow.drive.driver.write(0x070, 0);
    assert!(start.elapsed() >= Duration::from_millis(40), "{:?}", start.elapsed());
    late.join().unwrap();
    // Nothing comes later.
    slow.drive.driver.memory.write_slice(&[0x99; 8192], GuestAddress(DATA)).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!((slow.drive.data(0), slow.drive.data(1)), ([0x99; 4096], [0x99; 4096]));
    slow.drive.handle.change_file(RawDrive::from_file(disk(4)).unwrap());
    slow.drive.driver.start(COMMON, 64);
    slow.drive.offer(0, READ, 2);
    slow.drive.driver.wait_used(0, 1);
    assert_eq!(slow.drive.data(0), [2; 4096]);
}

#[test]
fn a_machine_may_end_with_requests_in_flight() {
    let mut slow = Slow::new();
    slow.offer(0);
    let Slow { drive, mut pipe } = slow;
    let memory = drive.driver.memory.clone();
    let late = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        pipe.write_all(&[0x11; 4096]).unwrap();
    });
    drop(drive);
    late.join().unwrap();
    let mut data = [0; 4096];
    memory.read_slice(&mut data, GuestAddress(DATA)).unwrap();
    assert_eq!(data, [0x11; 4096]);
}

#[test]
fn a_full_ring_makes_requests_wait() {
    let mut drive = Drive::new(&disk(64), spec(true));
    drive.driver.write(0x070, 0);
    drive.handle.0.state(0).unwrap().engine = Some(Engine::Uring(Uring::new(4).unwrap()));
    drive.driver.start(COMMON, 64);
    let (read, mut pipe) = std::io::pipe().unwrap();
    let file = File::from(std::os::fd::OwnedFd::from(read));
    drive.handle.change_file(RawDrive::endless(file));
    for index in 0..12 {
        drive.offer(index, READ, 0);
    }
    let metrics = drive.metrics();
    wait_for("the ring to be full", || metrics.io_engine_throttled_events.total() >= 1);
    for page in 0..12_u16 {
        assert_eq!(drive.driver.used(0), page);
        pipe.write_all(&[page as u8; 4096]).unwrap();
        drive.driver.wait_used(0, page + 1);
    }
    let mut seen: Vec<u8> = (0..12).map(|index| drive.data(index)[0]).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..12).collect::<Vec<u8>>());
}

#[test]
fn writes_and_flushes_in_flight_reach_the_file() {
    let file = disk(64);
    let mut drive = Drive::new(&file, spec(true));
    for round in 0..50_u16 {
        drive.driver.start(COMMON, 64);
        for index in 0..20 {
            let fill = [(round + index) as u8; 4096];
            let place = GuestAddress(DATA + u64::from(index) * SIZE);
            drive.driver.memory.write_slice(&fill, place).unwrap();
            drive.offer(index, if index % 5 == 4 { FLUSH } else { OUT }, (index * 3).into());
        }
        drive.driver.wait_used(0, 20);
        for index in (0..20).filter(|index| index % 5 != 4) {
            let mut page = [0; 4096];
            file.read_exact_at(&mut page, u64::from(index) * 3 * SIZE).unwrap();
            assert_eq!((page[0], page[4095]), ((round + index) as u8, (round + index) as u8));
        }
    }
    assert_eq!(drive.metrics().write_count.total(), 50 * 16);
    assert_eq!(drive.metrics().flush_count.total(), 50 * 4);
}

#[test]
fn a_host_without_room_fails_the_write_and_nothing_else() {
    for uring in [false, true] {
        let mut drive = Drive::new(&disk(64), spec(uring));
        let full = File::options().read(true).write(true).open("/dev/full").unwrap();
        drive.handle.change_file(RawDrive::endless(full));
        for (count, kind, status) in [(1, OUT, 1), (2, READ, 0), (3, OUT, 1)] {
            drive.offer(0, kind, 0);
            drive.driver.wait_used(0, count);
            assert_eq!(drive.status(0), status);
        }
        assert_eq!(drive.metrics().execute_fails.total(), 2);
    }
}

#[test]
fn each_queue_is_served_and_the_driver_knows_how_many_there_are() {
    for uring in [false, true] {
        let file = disk(64);
        let mut drive = Drive::new(&file, several(4, uring));
        assert_eq!(drive.driver.read(0x010) & 1 << 12, 1 << 12, "VIRTIO_BLK_F_MQ");
        assert_eq!(drive.driver.read(0x100 + 32) >> 16, 4);
        for round in 0..10_u16 {
            drive.driver.start(COMMON, 64);
            for index in 0..16 {
                drive.offer_on(index % 4, index, READ, (index + round).into());
            }
            for queue in 0..4 {
                drive.driver.wait_used_any(queue, 4);
            }
            assert!((0..16).all(|index| drive.data(index)[0] == (index + round) as u8));
        }
        assert_eq!(drive.metrics().read_count.total(), 160);
    }
    let drive = Drive::new(&disk(1), spec(false));
    assert_eq!((drive.driver.read(0x010) & 1 << 12, drive.driver.read(0x100 + 32) >> 16), (0, 0));
}

#[test]
fn a_queue_that_waits_for_the_host_keeps_no_other_waiting() {
    let mut drive = Drive::new(&disk(64), several(2, false));
    // In the middle of a turn that does not end.
    let shared = drive.handle.0.clone();
    let guard = shared.state(0);
    drive.offer_on(0, 0, READ, 1);
    drive.offer_on(1, 1, READ, 2);
    drive.driver.wait_used(1, 1);
    assert_eq!((drive.data(1)[0], drive.driver.used(0)), (2, 0));
    drop(guard);
    drive.driver.wait_used(0, 1);
    assert_eq!(drive.data(0)[0], 1);
}

#[test]
fn queues_share_their_limits_and_their_file() {
    for uring in [false, true] {
        let spec = BlockSpec { limits: limits(2, 3_600_000), ..several(3, uring) };
        let mut drive = Drive::new(&disk(64), spec);
        for index in 0..3 {
            drive.offer_on(index, 2 * index, READ, 1);
            drive.offer_on(index, 2 * index + 1, READ, 1);
        }
        let used = |drive: &Drive| (0..3).map(|queue| drive.driver.used(queue)).sum::<u16>();
        wait_for("what the limits let pass", || used(&drive) == 2);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(used(&drive), 2);
        drive.handle.change_limits(&limits(0, 0));
        wait_for("the rest", || used(&drive) == 6);
        let other = tempfile::tempfile().unwrap();
        other.write_all_at(&[0x77; 4096], 0).unwrap();
        drive.handle.change_file(RawDrive::from_file(other).unwrap());
        drive.driver.start(COMMON, 64);
        for queue in 0..3 {
            drive.offer_on(queue, queue, READ, 0);
            drive.driver.wait_used(queue, 1);
            assert_eq!(drive.data(queue), [0x77; 4096]);
        }
    }
}

#[test]
fn a_broken_queue_stops_the_others() {
    for uring in [false, true] {
        let mut drive = Drive::new(&disk(64), several(2, uring));
        drive.driver.jump(0, 1000);
        drive.driver.wait_broken();
        drive.offer_on(1, 0, READ, 1);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(drive.driver.used(1), 0);
        drive.driver.start(COMMON, 64);
        drive.offer_on(1, 0, READ, 1);
        drive.driver.wait_used(1, 1);
    }
}

#[test]
fn what_waits_together_is_answered_with_one_interrupt() {
    for uring in [false, true] {
        let mut drive = Drive::new(&disk(64), spec(uring));
        drive.driver.interrupts();
        let guard = drive.handle.0.clone();
        let state = guard.state(0);
        for index in 0..20 {
            drive.offer(index, READ, index.into());
        }
        drop(state);
        drive.driver.wait_used_any(0, 20);
        std::thread::sleep(Duration::from_millis(20));
        assert!((0..20).all(|index| drive.data(index)[0] == index as u8));
        assert_eq!(drive.driver.interrupts(), 1);
    }
}

#[test]
fn room_that_is_given_back_counts_for_the_limits_and_ends_the_turn() {
    let bandwidth = TokenBucket { size: 4096, one_time_burst: None, refill_time: 40 };
    let limits = RateLimiter { bandwidth: Some(bandwidth), ops: None };
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 30).unwrap();
    let mut drive = Drive::new(&file, BlockSpec { limits, ..spec(false) });
    // 4 MiB count as four pages, 40 ms each, the first of which is there at once.
    let extent = |drive: &Drive, index: u64, sectors: u32| {
        let place = GuestAddress(DATA + index * SIZE);
        drive.driver.memory.write_slice(&[0; 16], place).unwrap();
        drive.driver.memory.write_obj(sectors, GuestAddress(place.0 + 8)).unwrap();
    };
    let start = Instant::now();
    for round in 0..2 {
        extent(&drive, 0, 8192);
        offer_discard(&mut drive);
        drive.driver.wait_used(0, round + 1);
        assert_eq!(drive.status(0), 0);
    }
    assert!(start.elapsed() >= Duration::from_millis(110), "{:?}", start.elapsed());
    assert_eq!(drive.metrics().discard_count.total(), 2);
    // More than is offered is refused.
    extent(&drive, 0, (1 << 19) + 1);
    offer_discard(&mut drive);
    drive.driver.wait_used(0, 3);
    assert_eq!(drive.status(0), 1);
}

/// Offers a discard of the extent that lies where data of request 0 is.
fn offer_discard(drive: &mut Drive) {
    drive.driver.memory.write_obj(11_u64, GuestAddress(HEADERS)).unwrap();
    drive.driver.memory.write_obj(UNTOUCHED, GuestAddress(STATUSES)).unwrap();
    let chain = [Buffer(HEADERS, 16, NEXT, 1), Buffer(DATA, 16, NEXT, 2), Buffer(STATUSES, 1, WRITE, 0)];
    drive.driver.describe(0, 0, &chain);
    drive.driver.offer(0, 0);
}

#[test]
fn a_driver_that_sleeps_until_it_is_told_never_sleeps_for_ever() {
    for uring in [false, true] {
        let mut drive = Drive::new(&disk(64), spec(uring));
        let (mut offered, mut taken) = (0_u16, 0_u16);
        while taken < 30_000 {
            // Now and then one more, now and then all that there is room for.
            let room = DEPTH - (offered - taken);
            let more = if offered % 3 == 0 { room } else { room.min(1 + offered % 5) };
            drive.offer_as_asked(offered, offered + more);
            offered += more;
            let before = taken;
            loop {
                taken = drive.driver.used(0);
                drive.driver.set_used_event(0, taken);
                std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
                if drive.driver.used(0) == taken {
                    break;
                }
            }
            if taken == before {
                wait_for("an interrupt", || drive.driver.interrupts() != 0);
                // Drivers look why; before that they get no other.
                drive.driver.read(0x060);
            }
        }
        drive.driver.wait_used(0, offered);
        assert_eq!(drive.metrics().read_count.total(), u64::from(offered));
    }
}
