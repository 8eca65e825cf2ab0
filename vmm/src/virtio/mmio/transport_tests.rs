use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::Duration;

use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::virtio::device::{Interrupt, NeedsReset, Turn, Worker};
use crate::virtio::driver::{Buffer, Hostile, Machine, WRITE, wait_for};
use crate::virtio::features::COMMON;
use crate::virtio::rng::RngDevice;

const WIDTHS: [usize; 4] = [1, 2, 4, 8];

/// What a test sees of its device.
#[derive(Default)]
struct Diary {
    wakes: AtomicU32,
    in_turn: AtomicBool,
    workers: AtomicU32,
    config: Mutex<Vec<(u64, Vec<u8>)>>,
}

/// A device that notes what happens to it.
struct Witness {
    diary: Arc<Diary>,
    turn_time: Duration,
    turn: Result<Turn, NeedsReset>,
}

struct WitnessWorker {
    diary: Arc<Diary>,
    turn_time: Duration,
    turn: Result<Turn, NeedsReset>,
    _interrupt: Arc<dyn Interrupt>,
}

impl Witness {
    fn new(turn_time: Duration, turn: Result<Turn, NeedsReset>) -> (Witness, Arc<Diary>) {
        let diary = Arc::new(Diary::default());
        (Witness { diary: diary.clone(), turn_time, turn }, diary)
    }
}

impl VirtioDevice for Witness {
    fn device_type(&self) -> u32 {
        42
    }
    fn id(&self) -> &str {
        "witness"
    }
    fn features(&self) -> u64 {
        COMMON
    }
    fn queue_sizes(&self) -> &[u16] {
        &[16, 4]
    }
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        crate::virtio::device::read_config_space(&[1, 2, 3, 4, 5, 6], offset, data);
    }
    fn write_config(&mut self, offset: u64, data: &[u8]) {
        self.diary.config.lock().unwrap().push((offset, data.to_vec()));
    }
    fn activate(&mut self, activation: Activation<'_>) -> Result<Vec<Share>, NeedsReset> {
        self.diary.workers.fetch_add(1, Ordering::SeqCst);
        Ok(Share::whole(WitnessWorker {
            diary: self.diary.clone(),
            turn_time: self.turn_time,
            turn: self.turn,
            _interrupt: activation.interrupt,
        }))
    }
}

impl Worker for WitnessWorker {
    fn queue_notified(&mut self, _index: u16) -> Result<Turn, NeedsReset> {
        self.diary.in_turn.store(true, Ordering::SeqCst);
        std::thread::sleep(self.turn_time);
        self.diary.wakes.fetch_add(1, Ordering::SeqCst);
        self.diary.in_turn.store(false, Ordering::SeqCst);
        self.turn
    }
}

impl Drop for WitnessWorker {
    fn drop(&mut self) {
        assert!(!self.diary.in_turn.load(Ordering::SeqCst));
        self.diary.workers.fetch_sub(1, Ordering::SeqCst);
    }
}

fn witness(turn: Result<Turn, NeedsReset>) -> (Hostile, Arc<Diary>, Machine) {
    let machine = Machine::new();
    let (device, diary) = Witness::new(Duration::from_millis(20), turn);
    (Hostile::new(&machine, device), diary, machine)
}

/// Fills a request of an entropy device and checks that it is served.
fn works(driver: &mut Hostile) {
    let before = driver.used(0);
    driver.describe(0, 0, &[Buffer(0x4_0000, 16, WRITE, 0)]);
    driver.offer(0, 0);
    assert_eq!(driver.wait_used(0, before.wrapping_add(1)), (0, 16));
}

fn entropy() -> (Hostile, Machine) {
    let machine = Machine::new();
    let driver = Hostile::new(&machine, RngDevice::plain("rng"));
    (driver, machine)
}

#[test]
fn a_driver_finds_what_the_specification_promises() {
    let (driver, _diary, _machine) = witness(Ok(Turn::Done));
    assert_eq!(driver.read(0x000), u32::from_le_bytes(*b"virt"));
    assert_eq!(driver.read(0x004), 2);
    assert_eq!(driver.read(0x008), 42);
    assert_eq!(driver.read(0x034), 16);
    driver.write(0x030, 1);
    assert_eq!(driver.read(0x034), 4);
    for selected in [2, 3, 0x1_0000, u32::MAX] {
        driver.write(0x030, selected);
        assert_eq!((driver.read(0x034), driver.read(0x044)), (0, 0));
    }
    assert_eq!((driver.read(0x0b0), driver.read(0x0b4)), (u32::MAX, u32::MAX), "no shared memory");
    assert_eq!(driver.read(0x100), 0x0403_0201);
    assert_eq!(driver.access(0x104, 8, 0), 0x0605);
    assert_eq!(driver.access(0x105, 1, 0), 6);
    assert_eq!(driver.access(0x106, 4, 0), 0);
    assert_eq!(driver.access(0xfff, 8, 0), 0);
}

#[test]
fn any_access_of_any_width_anywhere_in_any_status_is_survived() {
    let (mut driver, _machine) = entropy();
    for status in [0, 1, 3, 0xb, 0xf, 0x8f] {
        for width in WIDTHS {
            for value in [0_u64, 1, 0x8000_0001, u64::MAX] {
                for offset in (0..0x200).chain(0xff0..0x1000) {
                    driver.write(0x070, 0);
                    for step in [1, 3, 0xb, 0xf] {
                        if step <= status {
                            driver.write(0x020, 1);
                            driver.write(0x024, 1);
                            driver.write(0x070, step);
                        }
                    }
                    driver.access(offset, width, value);
                }
            }
        }
    }
    driver.start(COMMON, 8);
    works(&mut driver);
}

#[test]
fn registers_answer_only_to_aligned_words() {
    let (mut driver, _machine) = entropy();
    driver.start(COMMON, 8);
    for offset in 0..0x100 {
        for width in WIDTHS {
            if width != 4 || offset % 4 != 0 {
                // Among the writes are resets and queue registers, were they to count.
                assert_eq!(driver.access(offset, width, 0), 0, "{offset:#x}, {width}");
            }
        }
    }
    assert_eq!(driver.read(0x070), 0xf);
    works(&mut driver);
}

#[test]
fn queue_registers_are_frozen_outside_their_phase() {
    let (mut driver, _machine) = entropy();
    let registers = [0x038, 0x044, 0x080, 0x084, 0x090, 0x094, 0x0a0, 0x0a4, 0x0c0];
    driver.start(COMMON, 8);
    works(&mut driver);
    for register in registers {
        for value in [0, 1, 2, 3, 7, 64, 0x1000, 0x8000, u32::MAX] {
            driver.write(register, value);
            assert_eq!(driver.read(0x044), 1, "{register:#x} <- {value:#x}");
        }
    }
    for (register, value) in [(0x020, 0), (0x020, u32::MAX), (0x070, 0xb), (0x070, 3), (0x070, 1)] {
        driver.write(register, value);
    }
    assert_eq!(driver.read(0x070), 0xf);
    works(&mut driver);
    // Before FEATURES_OK nothing sticks either, and a queue that was never described is not ready.
    for status in [0, 1, 3] {
        driver.write(0x070, 0);
        for step in [1, 3] {
            if step <= status {
                driver.write(0x070, step);
            }
        }
        for register in registers {
            driver.write(register, 0x1000);
        }
        driver.write(0x044, 1);
        assert_eq!(driver.read(0x044), 0, "status {status}");
    }
}

const QUEUE_REGISTERS: [u64; 10] = [0x030, 0x038, 0x044, 0x080, 0x084, 0x090, 0x094, 0x0a0, 0x0a4, 0x0c0];

#[test]
fn queues_at_work_hear_no_register_in_any_later_status() {
    let (mut driver, _machine) = entropy();
    driver.start(COMMON, 8);
    for (round, register) in QUEUE_REGISTERS.into_iter().enumerate() {
        for value in [0, 1, 2, 7, 8, 16, 0x8000, 0xffff, 0x1_0000, 0x8000_0000, u32::MAX] {
            driver.write(register, value);
            driver.write(0x030, 0);
            assert_eq!((driver.read(0x044), driver.read(0x034)), (1, 64), "{register:#x} <- {value:#x}");
            works(&mut driver);
        }
        // From here on it is a device that its driver gave up on.
        if round == QUEUE_REGISTERS.len() / 2 {
            driver.write(0x070, 0x8f);
        }
    }
    assert_eq!(driver.read(0x070), 0x8f);
    // One that broke down.
    driver.start(COMMON, 8);
    driver.jump(0, 100);
    driver.wait_broken();
    for register in QUEUE_REGISTERS {
        for value in [0, 1, 0x8000, u32::MAX] {
            driver.write(register, value);
            driver.write(0x030, 0);
            assert_eq!((driver.read(0x044), driver.read(0x070)), (1, 0x4f), "{register:#x} <- {value:#x}");
        }
    }
    driver.start(COMMON, 8);
    works(&mut driver);
}

#[test]
fn a_queue_that_is_ready_keeps_what_was_checked() {
    let (driver, _machine) = entropy();
    let addresses = [0x1000, 0x2000, 0x3000];
    assert!(describe(&driver, 8, addresses));
    // All of this would be refused if it came with the bit that makes the queue ready.
    driver.write(0x038, 64);
    for register in [0x080, 0x090, 0x0a0] {
        driver.write(register, 0xf_fff0);
        driver.write(register + 4, u32::MAX);
    }
    driver.write(0x070, 0xf);
    let memory = &driver.memory;
    memory.write_slice(&[0; 0x3000], GuestAddress(0x1000)).unwrap();
    for (place, value) in [(0x1000, 0x4_0000_u64), (0x1008, 16 | u64::from(WRITE) << 32)] {
        memory.write_obj(value, GuestAddress(place)).unwrap();
    }
    // Nine chains in all: a queue of 64 would look for the ninth elsewhere.
    for position in 1..=9_u16 {
        memory.write_obj(position, GuestAddress(0x2002)).unwrap();
        driver.notify(0);
        wait_for("the buffer", || memory.read_obj::<u16>(GuestAddress(0x3002)).unwrap() == position);
    }
    assert!(!driver.broken());
    let beyond: u64 = memory.read_obj(GuestAddress(0x3004 + 8 * 8)).unwrap();
    assert_eq!(beyond & 0xffff_ffff_0000, 0, "a used element behind the eighth");
}

/// Brings the device to FEATURES_OK and describes queue 0; returns whether it gets ready.
fn describe(driver: &Hostile, size: u32, addresses: [u64; 3]) -> bool {
    driver.write(0x070, 0);
    for status in [1, 3] {
        driver.write(0x070, status);
    }
    driver.write(0x024, 1);
    driver.write(0x020, 1);
    driver.write(0x070, 0xb);
    driver.write(0x030, 0);
    driver.write(0x038, size);
    for (register, address) in [0x080, 0x090, 0x0a0].into_iter().zip(addresses) {
        driver.write(register, address as u32);
        driver.write(register + 4, (address >> 32) as u32);
    }
    driver.write(0x044, 1);
    driver.read(0x044) == 1
}

#[test]
fn queues_get_ready_only_where_there_is_memory() {
    let (driver, _machine) = entropy();
    let good = [0x1000, 0x2000, 0x3000];
    assert!(describe(&driver, 64, good));
    let end = 1 << 20;
    for (part, length) in [(0, 16 * 64_u64), (1, 6 + 2 * 64), (2, 6 + 8 * 64)] {
        let aligned = length.next_multiple_of(16);
        for (address, ready) in [
            (end - aligned, true),
            (end - aligned + 16, false),
            (end, false),
            (2 << 20, true),
            ((2 << 20) - 16, false),
            ((3 << 20) - 16, false),
            (1 << 63, false),
            (u64::MAX - 15, false),
            (0x1001, false),
        ] {
            let mut addresses = good;
            addresses[part] = address;
            assert_eq!(describe(&driver, 64, addresses), ready, "part {part} at {address:#x}");
        }
    }
}

#[test]
fn impossible_sizes_leave_the_largest() {
    let (driver, _machine) = entropy();
    // The ring must have room for 64 entries all the same, so the end of memory tells which size counts.
    let addresses = [0x1000, 0x2000, (1 << 20) - (6 + 8 * 32 + 2)];
    assert!(describe(&driver, 32, addresses));
    for size in [0, 3, 5, 63, 65, 128, 0x8000, 0x1_0020, u32::MAX] {
        assert!(!describe(&driver, size, addresses), "{size}");
    }
}

#[test]
fn a_device_with_unready_queues_starts_and_sleeps() {
    let (driver, _machine) = entropy();
    describe(&driver, 3, [0; 3]);
    driver.write(0x044, 0);
    driver.write(0x070, 0xf);
    for queue in [0, 1, 2, 0x1_0000, u32::MAX] {
        driver.write(0x050, queue);
    }
    std::thread::sleep(Duration::from_millis(10));
    assert_eq!(driver.read(0x070), 0xf);
    assert_eq!(driver.interrupts(), 0);
}

#[test]
fn a_reset_waits_until_the_worker_is_gone() {
    let (mut driver, diary, _machine) = witness(Ok(Turn::Done));
    for _ in 0..5 {
        driver.start(COMMON, 4);
        assert_eq!(diary.workers.load(Ordering::SeqCst), 1);
        driver.notify(1);
        wait_for("a turn", || diary.in_turn.load(Ordering::SeqCst));
        driver.write(0x070, 0);
        assert_eq!(diary.workers.load(Ordering::SeqCst), 0);
        assert_eq!((driver.read(0x070), driver.read(0x044)), (0, 0));
    }
    let wakes = diary.wakes.load(Ordering::SeqCst);
    driver.notify(0);
    driver.notify(1);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(diary.wakes.load(Ordering::SeqCst), wakes, "nobody is there to be woken");
}

#[test]
fn dropping_the_transport_drops_the_worker() {
    let (mut driver, diary, _machine) = witness(Ok(Turn::Done));
    driver.start(COMMON, 4);
    driver.notify(0);
    drop(driver);
    assert_eq!(diary.workers.load(Ordering::SeqCst), 0);
}

#[test]
fn a_broken_device_says_so_until_it_is_reset() {
    let (mut driver, diary, _machine) = witness(Err(NeedsReset));
    for _ in 0..3 {
        driver.start(COMMON, 4);
        assert_eq!(driver.read(0x060), 0);
        driver.notify(0);
        driver.wait_broken();
        assert_eq!(diary.workers.load(Ordering::SeqCst), 0);
        assert_eq!(driver.read(0x070), 0x4f);
        // Not even the driver's own idea of the status takes it away.
        driver.write(0x070, 0xf);
        assert_eq!(driver.read(0x070), 0x4f);
        driver.write(0x064, 2);
        assert_eq!(driver.read(0x060), 0);
        driver.notify(0);
        driver.write(0x070, 0);
        assert_eq!(driver.read(0x070), 0);
    }
}

#[test]
fn a_worker_that_never_finishes_can_still_be_reset() {
    let (mut driver, diary, machine) = witness(Ok(Turn::More));
    driver.start(COMMON, 4);
    driver.notify(0);
    wait_for("several turns", || diary.wakes.load(Ordering::SeqCst) > 3);
    // Others have their turn meanwhile.
    let mut other = Hostile::new(&machine, RngDevice::plain("rng"));
    other.start(COMMON, 8);
    works(&mut other);
    driver.write(0x070, 0);
    assert_eq!(diary.workers.load(Ordering::SeqCst), 0);
}

#[test]
fn interrupts_have_reasons_that_are_taken_back_one_by_one() {
    let (mut driver, _machine) = entropy();
    driver.start(COMMON, 8);
    works(&mut driver);
    wait_for("the interrupt", || driver.read(0x060) == 1);
    assert_eq!(driver.interrupts(), 1);
    // Looking took it back; acknowledging it takes nothing of what came since.
    assert_eq!(driver.read(0x060), 0);
    driver.write(0x064, 1);
    assert_eq!(driver.read(0x060), 0);
}

#[test]
fn a_driver_is_not_told_twice_before_it_looks() {
    let irq = EventFd::new(EFD_NONBLOCK).unwrap();
    let line = Line::new(irq.try_clone().unwrap());
    line.queue(0);
    line.queue(1);
    assert_eq!(irq.read().unwrap(), 1);
    assert_eq!((line.look(), line.look()), (1, 0));
    line.queue(0);
    // What is used between a look and the acknowledgement is another interrupt.
    assert_eq!((irq.read().unwrap(), line.look()), (1, 1));
    line.config();
    line.config();
    assert_eq!((irq.read().unwrap(), line.look(), line.look()), (2, 2, 2));
    line.acknowledge(2);
    assert_eq!(line.look(), 0);
}

#[test]
fn configuration_is_written_only_by_a_driver() {
    let (driver, diary, _machine) = witness(Ok(Turn::Done));
    driver.access(0x100, 1, 7);
    driver.write(0x070, 1);
    driver.access(0x100, 1, 7);
    assert!(diary.config.lock().unwrap().is_empty());
    driver.write(0x070, 3);
    driver.access(0x101, 2, 0x0908);
    assert_eq!(*diary.config.lock().unwrap(), [(1, vec![8, 9])]);
}

/// A device whose two queues are served at the same time: each turn ends when the other one has begun.
struct Twins {
    meeting: Arc<Barrier>,
    met: Arc<AtomicUsize>,
}

struct Twin(Arc<Barrier>, Arc<AtomicUsize>);

impl VirtioDevice for Twins {
    fn device_type(&self) -> u32 {
        2
    }
    fn id(&self) -> &str {
        "twins"
    }
    fn features(&self) -> u64 {
        COMMON
    }
    fn queue_sizes(&self) -> &[u16] {
        &[4, 4]
    }
    fn read_config(&self, _offset: u64, _data: &mut [u8]) {}
    fn threads(&self) -> usize {
        2
    }
    fn activate(&mut self, _activation: Activation<'_>) -> Result<Vec<Share>, NeedsReset> {
        let twin = |index| {
            let worker = Box::new(Twin(self.meeting.clone(), self.met.clone()));
            Share { worker, queues: index..index + 1, used: None }
        };
        Ok((0..2).map(twin).collect())
    }
}

impl Worker for Twin {
    fn queue_notified(&mut self, index: u16) -> Result<Turn, NeedsReset> {
        assert_eq!(index, 0, "each counts its own");
        self.0.wait();
        self.1.fetch_add(1, Ordering::SeqCst);
        Ok(Turn::Done)
    }
}

#[test]
fn workers_with_threads_of_their_own_have_their_turns_at_once() {
    let machine = Machine::new();
    let (meeting, met) = (Arc::new(Barrier::new(2)), Arc::<AtomicUsize>::default());
    let mut driver = Hostile::new(&machine, Twins { meeting: meeting.clone(), met: met.clone() });
    driver.start(COMMON, 4);
    for round in 1..=20 {
        driver.notify(0);
        driver.notify(1);
        wait_for("both", || met.load(Ordering::SeqCst) == 2 * round);
    }
    assert_eq!(Arc::strong_count(&meeting), 4);
    driver.write(0x070, 0);
    assert_eq!(Arc::strong_count(&meeting), 2, "a reset drops both");
}

/// A device whose queues somebody else serves, who interrupts by himself.
struct Outsourced(Arc<AtomicUsize>);

impl VirtioDevice for Outsourced {
    fn device_type(&self) -> u32 {
        1
    }
    fn id(&self) -> &str {
        "outsourced"
    }
    fn features(&self) -> u64 {
        COMMON
    }
    fn queue_sizes(&self) -> &[u16] {
        &[4, 4]
    }
    fn read_config(&self, _offset: u64, _data: &mut [u8]) {}
    fn activate(&mut self, activation: Activation<'_>) -> Result<Vec<Share>, NeedsReset> {
        assert_eq!((activation.doorbells.len(), activation.line.write(1).is_ok()), (2, true));
        let (diary, turn_time) = (Arc::default(), Duration::ZERO);
        let _interrupt = activation.interrupt;
        let share = |used: Arc<AtomicUsize>| Share {
            worker: Box::new(Twin(Arc::new(Barrier::new(1)), used.clone())),
            queues: 0..0,
            used: Some(Box::new(move || used.swap(0, Ordering::SeqCst) != 0)),
        };
        let worker = WitnessWorker { diary, turn_time, turn: Err(NeedsReset), _interrupt };
        let mut shares = vec![share(self.0.clone()), share(self.0.clone())];
        shares.push(Share { worker: Box::new(worker), queues: 1..2, used: None });
        Ok(shares)
    }
}

#[test]
fn a_driver_is_told_what_others_have_used_and_that_the_device_broke() {
    let (machine, used) = (Machine::new(), Arc::<AtomicUsize>::default());
    let mut driver = Hostile::new(&machine, Outsourced(used.clone()));
    driver.start(COMMON, 4);
    assert_eq!(driver.interrupts(), 1, "raised by who serves the queues");
    assert_eq!(driver.read(0x060), 0);
    used.store(3, Ordering::SeqCst);
    assert_eq!((driver.read(0x060), driver.read(0x060)), (1, 0), "until it is read");
    // Queue 0 wakes nobody here.
    driver.notify(0);
    driver.notify(1);
    wait_for("the device to ask for a reset", || driver.broken());
    used.store(1, Ordering::SeqCst);
    assert_eq!((driver.read(0x060), driver.read(0x060)), (3, 2));
    driver.write(0x064, 2);
    assert_eq!(driver.read(0x060), 0);
    driver.write(0x070, 0);
    used.store(1, Ordering::SeqCst);
    assert_eq!((driver.read(0x060), used.load(Ordering::SeqCst)), (0, 1), "nobody is asked after a reset");
}
