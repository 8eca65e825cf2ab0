use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use virtio_drivers::device::console::VirtIOConsole;
use vm_memory::{Bytes, GuestAddress};

use crate::console::{Console, InputPort, Output};
use crate::metrics::ConsoleMetrics;
use crate::outlet::Outlet;
use crate::virtio::console::{ConsoleDevice, Typed};
use crate::virtio::driver::{ArenaHal, Buffer, Hostile, Machine, NEXT, WRITE, wait_for};
use crate::virtio::features::COMMON;

struct Bench {
    machine: Machine,
    typed: Typed,
    console: Console,
    metrics: Arc<ConsoleMetrics>,
    reader: File,
}

impl Bench {
    fn new() -> Bench {
        let (reader, writer) = io::pipe().unwrap();
        let console = Console::new(Output::to(Outlet::to(writer.into())));
        let reader = File::from(OwnedFd::from(reader));
        let (machine, typed) = (Machine::new(), Typed::new().unwrap());
        Bench { machine, typed, console, metrics: Arc::default(), reader }
    }

    fn device(&self) -> ConsoleDevice {
        ConsoleDevice::new("console", self.console.clone(), self.typed.clone(), self.metrics.clone())
    }
}

fn nothing() -> Box<dyn FnOnce() + Send> {
    Box::new(|| ())
}

#[test]
fn a_strangers_driver_writes_and_reads() {
    let mut bench = Bench::new();
    let mut driver = VirtIOConsole::<ArenaHal, _>::new(bench.machine.window(bench.device())).unwrap();
    assert_eq!(driver.size().unwrap(), None);
    driver.send_bytes(b"login: ").unwrap();
    let mut seen = [0; 64];
    let count = bench.reader.read(&mut seen).unwrap();
    assert_eq!(&seen[..count], b"login: ", "a prompt waits for no end of its line");
    driver.send(b'x').unwrap();
    driver.emergency_write(b'!').unwrap();
    wait_for("output", || bench.console.tail() == "login: x!");
    let text = [b'a'; 5000];
    let mut given = 0;
    let mut got = Vec::new();
    while got.len() < text.len() {
        let room = bench.typed.room_or(nothing()).min(text.len() - given);
        bench.typed.receive(&text[given..given + room]);
        given += room;
        while let Some(byte) = driver.recv(true).unwrap() {
            got.push(byte);
        }
    }
    assert_eq!(got, text);
    assert_eq!((bench.metrics.tx_bytes_count.total(), bench.metrics.rx_bytes_count.total()), (9, 5000));
}

#[test]
fn input_waits_for_the_driver_and_its_sender_for_room() {
    let bench = Bench::new();
    let told = Arc::new(AtomicUsize::new(0));
    let seen = told.clone();
    bench.typed.receive(&[b'q'; 10_000]);
    let resume = Box::new(move || {
        seen.fetch_add(1, Ordering::SeqCst);
    });
    assert_eq!(bench.typed.room_or(resume), 0);
    let mut driver = VirtIOConsole::<ArenaHal, _>::new(bench.machine.window(bench.device())).unwrap();
    wait_for("input", || driver.recv(false).unwrap() == Some(b'q'));
    wait_for("room", || told.load(Ordering::SeqCst) == 1);
    let mut count = 0;
    wait_for("the rest", || {
        while driver.recv(true).unwrap().is_some() {
            count += 1;
        }
        count == 4096
    });
    assert_eq!(bench.typed.room_or(nothing()), 4096);
}

#[test]
fn what_one_buffer_carries_is_bounded_and_odd_ones_are_harmless() {
    let bench = Bench::new();
    let mut driver = Hostile::new(&bench.machine, bench.device());
    driver.start(COMMON, 8);
    driver.memory.write_slice(b"hello", GuestAddress(0x4_0000)).unwrap();
    // In pieces, with one that is for the device to write.
    let pieces = [Buffer(0x4_0000, 2, NEXT, 1), Buffer(0x4_0002, 3, NEXT, 2), Buffer(0x5_0000, 8, WRITE, 0)];
    driver.describe(1, 0, &pieces);
    driver.offer(1, 0);
    assert_eq!(driver.wait_used(1, 1), (0, 0));
    assert_eq!(bench.console.tail(), "hello");
    // 512 KiB: 64 KiB are written.
    driver.describe(1, 0, &[Buffer(0x4_0000, 512 * 1024, 0, 0)]);
    driver.offer(1, 0);
    assert_eq!(driver.wait_used(1, 2), (0, 0));
    assert_eq!(bench.metrics.tx_bytes_count.total(), 5 + 64 * 1024);
    // Input into nothing: the buffer comes back empty, the input waits for the next.
    bench.typed.receive(b"abc");
    driver.describe(0, 0, &[Buffer(0x4_0000, 16, 0, 0)]);
    driver.offer(0, 0);
    assert_eq!(driver.wait_used(0, 1), (0, 0));
    driver.describe(0, 0, &[Buffer(0x4_0000, 2, WRITE, 0)]);
    driver.offer(0, 0);
    assert_eq!(driver.wait_used(0, 2), (0, 2));
    // A reset keeps what waits.
    driver.start(COMMON, 8);
    driver.describe(0, 0, &[Buffer(0x4_0000, 16, WRITE, 0)]);
    driver.offer(0, 0);
    assert_eq!(driver.wait_used(0, 1), (0, 1));
    // Out of memory's bounds.
    driver.describe(1, 0, &[Buffer((1 << 20) - 1, 2, 0, 0)]);
    driver.offer(1, 0);
    driver.wait_broken();
    assert_eq!(bench.metrics.event_fails.total(), 1);
}
