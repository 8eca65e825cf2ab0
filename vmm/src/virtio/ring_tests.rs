use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use vm_memory::{Bytes, GuestAddress};

use crate::virtio::driver::{Buffer, Hostile, INDIRECT, Machine, NEXT, WRITE, wait_for};
use crate::virtio::features::{COMMON, EVENT_INDEX, VERSION_1};
use crate::virtio::rng::RngDevice;

const DATA: u64 = 0x4_0000;
const SIZE: u16 = 8;
const NO_INTERRUPT: u16 = 1;

/// An entropy device: the plainest thing with a ring.
fn device(features: u64) -> (Hostile, Machine) {
    let machine = Machine::new();
    let mut driver = Hostile::new(&machine, RngDevice::plain("rng"));
    driver.start(features, SIZE);
    for head in 0..SIZE {
        driver.describe(0, head, &[Buffer(DATA, 1, WRITE, 0)]);
    }
    (driver, machine)
}

/// Nothing comes within a moment.
fn quiet(driver: &Hostile) -> bool {
    std::thread::sleep(Duration::from_millis(20));
    driver.interrupts() == 0
}

/// An interrupt comes; the driver looks why, as drivers do: before that it gets no other.
fn interrupted(driver: &Hostile) {
    wait_for("an interrupt", || driver.interrupts() > 0);
    assert_eq!(driver.read(0x060), 1);
}

#[test]
fn positions_wrap_around() {
    let (mut driver, _machine) = device(COMMON);
    let rounds = (1 << 16) / u32::from(SIZE) + 10;
    let mut count = 0_u16;
    for _ in 0..rounds {
        for head in 0..SIZE {
            driver.offer(0, head);
        }
        count = count.wrapping_add(SIZE);
        while driver.used(0) != count {
            std::thread::yield_now();
        }
    }
    assert!(!driver.broken());
    assert_eq!(driver.used_element(0, count.wrapping_sub(1)), (u32::from(SIZE) - 1, 1));
}

#[test]
fn interrupts_come_when_the_event_index_is_passed() {
    let (mut driver, _machine) = device(COMMON);
    driver.set_used_event(0, 2);
    for count in 1..=2 {
        driver.offer(0, 0);
        driver.wait_used(0, count);
        assert!(quiet(&driver), "{count}");
    }
    driver.offer(0, 0);
    interrupted(&driver);
    // Not asked for again: silence.
    driver.offer(0, 0);
    driver.wait_used(0, 4);
    assert!(quiet(&driver));
}

#[test]
fn without_the_event_index_a_flag_silences_interrupts() {
    let (mut driver, _machine) = device(VERSION_1);
    driver.offer(0, 0);
    interrupted(&driver);
    driver.set_available_flags(0, NO_INTERRUPT);
    driver.offer(0, 0);
    driver.wait_used(0, 2);
    assert!(quiet(&driver));
    driver.set_available_flags(0, 0);
    driver.offer(0, 0);
    interrupted(&driver);
}

#[test]
fn positions_and_heads_that_cannot_be_break_the_device() {
    let (mut driver, _machine) = device(COMMON);
    for ahead in [SIZE + 1, 100, 0x7fff, 0x8000, u16::MAX] {
        driver.start(COMMON, SIZE);
        driver.jump(0, ahead);
        driver.wait_broken();
    }
    for head in [SIZE, SIZE + 1, 255, u16::MAX] {
        driver.start(COMMON, SIZE);
        driver.offer(0, head);
        driver.wait_broken();
    }
}

#[test]
fn the_same_chain_twice_is_served_twice() {
    let (mut driver, _machine) = device(COMMON);
    for head in 0..SIZE {
        driver.describe(0, head, &[Buffer(DATA, 64 * 1024, WRITE, 0)]);
    }
    for _ in 0..SIZE {
        driver.offer(0, 3);
    }
    assert_eq!(driver.wait_used(0, SIZE), (3, 64 * 1024));
}

#[test]
fn a_guest_that_rewrites_its_ring_meanwhile_harms_only_itself() {
    static STOP: AtomicBool = AtomicBool::new(false);
    let (mut driver, machine) = device(COMMON);
    let memory = driver.memory.clone();
    let vandal = std::thread::spawn(move || {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        while !STOP.load(Ordering::Relaxed) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            // Addresses good and bad, lengths, flags, indices, of the table and the available ring.
            let place = 0x1_0000 + seed % 0x90;
            memory.write_obj((seed >> 32) as u8, GuestAddress(place)).unwrap();
            memory.write_obj((seed >> 40) as u8, GuestAddress(0x1_2000 + seed % 24)).unwrap();
        }
    });
    for round in 0..2000_u64 {
        if driver.broken() {
            driver.start(COMMON, SIZE);
        }
        let flags = [WRITE, WRITE | NEXT, INDIRECT, NEXT][round as usize % 4];
        driver.describe(0, 0, &[Buffer(DATA, 64, flags, 1), Buffer(DATA, 64, WRITE, 0)]);
        driver.offer(0, (round % u64::from(SIZE)) as u16);
    }
    STOP.store(true, Ordering::Relaxed);
    vandal.join().unwrap();
    // The loop is alive, and so is the device after a reset.
    let mut other = Hostile::new(&machine, RngDevice::plain("rng"));
    for driver in [&mut driver, &mut other] {
        driver.start(VERSION_1 | EVENT_INDEX, SIZE);
        driver.describe(0, 0, &[Buffer(DATA, 5, WRITE, 0)]);
        driver.offer(0, 0);
        assert_eq!(driver.wait_used(0, 1), (0, 5));
    }
}
