use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use virtio_drivers::device::blk::{BlkReq, BlkResp, VirtIOBlk};
use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::virtio::block::{BlockDevice, BlockSpec};
use crate::virtio::driver::{ArenaHal, Buffer, Hostile, INDIRECT, Machine, NEXT, WRITE, Window, wait_for};
use crate::virtio::features::{COMMON, VERSION_1};

const SECTORS: u64 = 64;
const HEADER: u64 = 0x1000;
const DATA: u64 = 0x4_0000;
const STATUS: u64 = 0x2000;
/// What the status byte is before the device writes it.
const UNTOUCHED: u8 = 0xee;

fn disk() -> File {
    let mut file = tempfile::tempfile().unwrap();
    for sector in 0..SECTORS {
        file.write_all(&[sector as u8; SECTOR_SIZE as usize]).unwrap();
    }
    // A tail that is no whole sector is out of reach.
    file.write_all(b"tail").unwrap();
    file
}

/// How a drive may be made: both engines serve the same.
fn specs() -> [BlockSpec; 2] {
    [false, true].map(|uring| BlockSpec { flush: true, uring, ..BlockSpec::default() })
}

fn stranger(machine: &Machine, file: &File, spec: BlockSpec) -> VirtIOBlk<ArenaHal, Window> {
    VirtIOBlk::new(machine.window(BlockDevice::of(file, spec))).unwrap()
}

#[test]
fn a_strangers_driver_reads_writes_and_flushes() {
    for spec in specs() {
        let (machine, file) = (Machine::new(), disk());
        let mut drive = stranger(&machine, &file, spec);
        assert_eq!(drive.capacity(), SECTORS);
        assert!(!drive.readonly());
        let mut data = [0; 1024];
        drive.read_blocks(5, &mut data).unwrap();
        assert!(data[..512].iter().all(|&byte| byte == 5) && data[512..].iter().all(|&byte| byte == 6));
        drive.write_blocks(63, &[0xab; 512]).unwrap();
        drive.flush().unwrap();
        let mut sector = [0; 512];
        file.read_exact_at(&mut sector, 63 * 512).unwrap();
        assert_eq!(sector, [0xab; 512]);
        let mut id = [0; 20];
        let length = drive.device_id(&mut id).unwrap();
        assert_eq!(&id[..length], b"rootfs");
    }
}

#[test]
fn requests_out_of_bounds_fail_and_the_drive_goes_on() {
    for spec in specs() {
        let (machine, file) = (Machine::new(), disk());
        let mut drive = stranger(&machine, &file, spec);
        for sector in [SECTORS as usize, usize::MAX >> 9, usize::MAX] {
            drive.read_blocks(sector, &mut [0; 512]).unwrap_err();
            drive.write_blocks(sector, &[0; 512]).unwrap_err();
        }
        drive.read_blocks(SECTORS as usize - 1, &mut [0; 1024]).unwrap_err();
        drive.read_blocks(SECTORS as usize - 1, &mut [0; 512]).unwrap();
        assert_eq!(file.metadata().unwrap().len(), SECTORS * 512 + 4);
    }
}

#[test]
fn requests_in_flight_together_are_all_served() {
    {
        let (machine, file) = (Machine::new(), disk());
        let mut drive = stranger(&machine, &file, specs()[0]);
        let mut requests: Vec<_> =
            (0..4).map(|_| (BlkReq::default(), BlkResp::default(), [0_u8; 512])).collect();
        for round in 0..500 {
            let mut tokens = Vec::new();
            for (index, (request, response, data)) in requests.iter_mut().enumerate() {
                // SAFETY: the buffers live until `complete_read_blocks` below.
                #[allow(unsafe_code, reason = "the driver crate's way to have several requests in flight")]
                let token =
                    unsafe { drive.read_blocks_nb((round + index) % 64, request, data, response) }.unwrap();
                tokens.push(token);
            }
            for (index, token) in tokens.into_iter().enumerate() {
                wait_for("a request", || drive.peek_used() == Some(token));
                let (request, response, data) = &mut requests[index];
                // SAFETY: the same buffers as above.
                #[allow(unsafe_code, reason = "the driver crate's way to have several requests in flight")]
                unsafe { drive.complete_read_blocks(token, request, data, response) }.unwrap();
                assert!(data.iter().all(|&byte| usize::from(byte) == (round + index) % 64));
            }
        }
    }
}

struct Victim {
    driver: Hostile,
    _machine: Machine,
    file: File,
}

impl Victim {
    fn new(spec: BlockSpec) -> Victim {
        let (machine, file) = (Machine::new(), disk());
        let mut driver = Hostile::new(&machine, BlockDevice::of(&file, spec));
        driver.start(VERSION_1 | COMMON, 16);
        Victim { driver, _machine: machine, file }
    }

    /// Sends a discard or a write of zeroes with these extents (sector, count, flags).
    fn extents(&mut self, kind: u32, extents: &[(u64, u32, u32)]) -> u8 {
        for (place, (sector, count, flags)) in (DATA..).step_by(16).zip(extents) {
            self.driver.memory.write_obj(*sector, GuestAddress(place)).unwrap();
            self.driver.memory.write_obj(*count, GuestAddress(place + 8)).unwrap();
            self.driver.memory.write_obj(*flags, GuestAddress(place + 12)).unwrap();
        }
        self.request(kind, 0, &[(DATA, extents.len() as u32 * 16, 0)]).0
    }

    fn header(&self, kind: u32, sector: u64) {
        self.driver.memory.write_obj(kind, GuestAddress(HEADER)).unwrap();
        self.driver.memory.write_obj(sector, GuestAddress(HEADER + 8)).unwrap();
        self.driver.memory.write_obj(UNTOUCHED, GuestAddress(STATUS)).unwrap();
    }

    /// Sends a request with these data buffers; returns status and used length.
    fn request(&mut self, kind: u32, sector: u64, data: &[(u64, u32, u16)]) -> (u8, u32) {
        self.header(kind, sector);
        let mut chain = vec![Buffer(HEADER, 16, NEXT, 1)];
        for (address, length, flags) in data {
            chain.push(Buffer(*address, *length, flags | NEXT, chain.len() as u16 + 1));
        }
        chain.push(Buffer(STATUS, 1, WRITE, 0));
        self.driver.describe(0, 0, &chain);
        let before = self.driver.used(0);
        self.driver.offer(0, 0);
        let (head, written) = self.driver.wait_used(0, before.wrapping_add(1));
        assert_eq!(head, 0);
        (self.driver.memory.read_obj(GuestAddress(STATUS)).unwrap(), written)
    }
}

/// What it is, request type, sector, data buffers (address, length, flags), status.
type Case = (&'static str, u32, u64, &'static [(u64, u32, u16)], u8);

const DISCARD: u32 = VIRTIO_BLK_T_DISCARD;
const ZEROES: u32 = VIRTIO_BLK_T_WRITE_ZEROES;
const OK: u8 = VIRTIO_BLK_S_OK as u8;
const IOERR: u8 = VIRTIO_BLK_S_IOERR as u8;
const UNSUPPORTED: u8 = VIRTIO_BLK_S_UNSUPP as u8;

#[test]
fn every_malformed_request_with_a_status_byte_gets_an_error() {
    for spec in specs() {
        let mut victim = Victim::new(spec);
        let (read, write) = (VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT);
        let cases: &[Case] = &[
            ("plain read", read, 0, &[(DATA, 512, WRITE)], OK),
            ("read cut in odd pieces", read, 0, &[(DATA, 1, WRITE), (DATA + 1, 511, WRITE)], OK),
            ("empty pieces between", read, 0, &[(DATA, 0, WRITE), (DATA, 512, WRITE), (1, 0, WRITE)], OK),
            ("plain write", write, 1, &[(DATA, 512, 0)], OK),
            ("read into nothing", read, 0, &[], IOERR),
            ("read of no bytes", read, 0, &[(DATA, 0, WRITE)], IOERR),
            ("write of nothing", write, 0, &[], IOERR),
            ("half a sector", read, 0, &[(DATA, 256, WRITE)], IOERR),
            ("a sector and a bit", write, 0, &[(DATA, 513, 0)], IOERR),
            ("sector behind the end", read, SECTORS, &[(DATA, 512, WRITE)], IOERR),
            ("across the end", read, SECTORS - 1, &[(DATA, 1024, WRITE)], IOERR),
            ("sector that overflows", read, u64::MAX, &[(DATA, 512, WRITE)], IOERR),
            ("offset that overflows", write, u64::MAX / 512, &[(DATA, 512, 0)], IOERR),
            ("read to no memory", read, 0, &[(1 << 40, 512, WRITE)], IOERR),
            ("read to the hole", read, 0, &[((1 << 20) - 256, 512, WRITE)], IOERR),
            ("write from the hole", write, 0, &[((1 << 20) - 256, 512, 0)], IOERR),
            ("behind the last byte", write, 0, &[((3 << 20) - 511, 512, 0)], IOERR),
            ("address that wraps", read, 0, &[(u64::MAX - 255, 512, WRITE)], IOERR),
            ("longer than everything", read, 0, &[(DATA, 0xffff_fe00, WRITE)], IOERR),
            ("id", VIRTIO_BLK_T_GET_ID, 0, &[(DATA, 20, WRITE)], OK),
            ("id into a short buffer", VIRTIO_BLK_T_GET_ID, 0, &[(DATA, 19, WRITE)], IOERR),
            ("id into the hole", VIRTIO_BLK_T_GET_ID, 0, &[((1 << 20) - 1, 20, WRITE)], IOERR),
            ("flush", VIRTIO_BLK_T_FLUSH, u64::MAX, &[], OK),
            ("discard of nothing", DISCARD, 0, &[], IOERR),
            ("discard of an odd size", DISCARD, 0, &[(DATA, 17, 0)], IOERR),
            ("discard of too much", DISCARD, 0, &[(DATA, 33 * 16, 0)], IOERR),
            ("discard from the hole", DISCARD, 0, &[((1 << 20) - 8, 16, 0)], IOERR),
            ("discard to be written", DISCARD, 0, &[(DATA, 16, WRITE)], IOERR),
            ("zeroes of nothing", ZEROES, 0, &[], IOERR),
            ("zeroes of too much", ZEROES, 0, &[(DATA, 5 * 16, 0)], IOERR),
            ("secure erase", 14, 0, &[(DATA, 16, 0)], UNSUPPORTED),
            ("SCSI", 2, 0, &[(DATA, 512, WRITE)], UNSUPPORTED),
            ("no such type", u32::MAX, 0, &[(DATA, 512, WRITE)], UNSUPPORTED),
        ];
        let length = victim.file.metadata().unwrap().len();
        for (name, kind, sector, data, expected) in cases {
            assert_eq!(victim.request(*kind, *sector, data).0, *expected, "{name}");
        }
        assert_eq!(victim.file.metadata().unwrap().len(), length, "the file grew");
    }
}

#[test]
fn used_length_counts_what_was_written() {
    for spec in specs() {
        let mut victim = Victim::new(spec);
        assert_eq!(victim.request(VIRTIO_BLK_T_IN, 3, &[(DATA, 1024, WRITE)]), (OK, 1025));
        assert_eq!(victim.request(VIRTIO_BLK_T_OUT, 3, &[(DATA, 1024, 0)]), (OK, 1));
        assert_eq!(victim.request(VIRTIO_BLK_T_IN, SECTORS, &[(DATA, 512, WRITE)]), (IOERR, 0));
        assert_eq!(victim.request(VIRTIO_BLK_T_GET_ID, 0, &[(DATA, 20, WRITE)]), (OK, 21));
    }
}

#[test]
fn read_only_and_unflushable_drives_say_so() {
    let mut victim = Victim::new(BlockSpec { read_only: true, ..BlockSpec::default() });
    assert_ne!(victim.driver.read(0x010) & 1 << 5, 0, "VIRTIO_BLK_F_RO");
    assert_eq!(victim.driver.read(0x010) & 1 << 9, 0, "VIRTIO_BLK_F_FLUSH");
    assert_eq!(victim.driver.read(0x010) & (1 << 13 | 1 << 14), 0, "discard and write zeroes");
    assert_eq!(victim.request(VIRTIO_BLK_T_OUT, 0, &[(DATA, 512, 0)]).0, IOERR);
    assert_eq!(victim.extents(DISCARD, &[(0, 8, 0)]), IOERR);
    assert_eq!(victim.extents(ZEROES, &[(0, 8, 0)]), IOERR);
    assert_eq!(bytes(&victim.file, 0..64), sectors(0..64));
    assert_eq!(victim.request(VIRTIO_BLK_T_FLUSH, 0, &[]).0, UNSUPPORTED);
    assert_eq!(victim.request(VIRTIO_BLK_T_IN, 0, &[(DATA, 512, WRITE)]).0, OK);
}

#[test]
fn no_dangerous_features_are_offered() {
    let victim = Victim::new(specs()[0]);
    // SCSI, multi-queue, lifetime, secure erase, packed rings, in-order, IOMMU.
    let low = victim.driver.read(0x010);
    assert_eq!(low & (1 << 7 | 1 << 12 | 1 << 15 | 1 << 16), 0);
    victim.driver.write(0x014, 1);
    assert_eq!(victim.driver.read(0x010), 1, "only version 1 above bit 31");
}

#[test]
fn requests_that_cannot_be_answered_break_the_device_until_reset() {
    for spec in specs() {
        let mut victim = Victim::new(spec);
        let chains: &[(&str, &[Buffer])] = &[
            ("no status byte", &[Buffer(HEADER, 16, 0, 0)]),
            ("status of no bytes", &[Buffer(HEADER, 16, NEXT, 1), Buffer(STATUS, 0, WRITE, 0)]),
            ("status in no memory", &[Buffer(HEADER, 16, NEXT, 1), Buffer(1 << 40, 1, WRITE, 0)]),
            ("status first", &[Buffer(STATUS, 1, WRITE | NEXT, 1), Buffer(HEADER, 16, 0, 0)]),
            ("itself next", &[Buffer(HEADER, 16, NEXT, 0)]),
            ("cycle", &[Buffer(HEADER, 16, NEXT, 1), Buffer(DATA, 1, NEXT, 0)]),
            ("out of the table", &[Buffer(HEADER, 16, NEXT, 16)]),
            ("empty indirect table", &[Buffer(DATA, 0, INDIRECT, 0)]),
            ("indirect table of odd size", &[Buffer(DATA, 17, INDIRECT, 0)]),
            ("indirect table too long", &[Buffer(DATA, 16 * 1025, INDIRECT, 0)]),
            ("indirect table and next", &[Buffer(DATA, 16, INDIRECT | NEXT, 1), Buffer(STATUS, 1, WRITE, 0)]),
            ("indirect table in no memory", &[Buffer((1 << 20) - 8, 16, INDIRECT, 0)]),
            ("more than 4 GiB", &[Buffer(HEADER, u32::MAX, NEXT, 1), Buffer(STATUS, 1, WRITE, 0)]),
        ];
        for (name, chain) in chains {
            victim.driver.start(COMMON, 16);
            victim.header(VIRTIO_BLK_T_IN, 0);
            victim.driver.describe(0, 0, chain);
            victim.driver.offer(0, 0);
            println!("{name}");
            victim.driver.wait_broken();
            assert_eq!(victim.driver.used(0), 0, "{name}");
        }
        victim.driver.start(COMMON, 16);
        assert_eq!(victim.request(VIRTIO_BLK_T_IN, 0, &[(DATA, 512, WRITE)]).0, OK);
    }
}

#[test]
fn indirect_requests_work_and_nest_only_once() {
    for spec in specs() {
        let mut victim = Victim::new(spec);
        victim.header(VIRTIO_BLK_T_IN, 7);
        let table = [
            Buffer(HEADER, 16, NEXT, 1),
            Buffer(DATA + 4096, 512, NEXT | WRITE, 2),
            Buffer(STATUS, 1, WRITE, 0),
        ];
        victim.driver.describe_at(DATA, &table);
        victim.driver.describe(0, 3, &[Buffer(DATA, 48, INDIRECT, 0)]);
        victim.driver.offer(0, 3);
        assert_eq!(victim.driver.wait_used(0, 1), (3, 513));
        // A header outside of the table and the rest inside is allowed.
        victim.driver.describe_at(
            DATA,
            &[table[1], table[2]].map(|Buffer(a, l, f, n)| Buffer(a, l, f, n.wrapping_sub(1))),
        );
        victim.driver.describe(0, 4, &[Buffer(HEADER, 16, NEXT, 5), Buffer(DATA, 32, INDIRECT, 0)]);
        victim.driver.offer(0, 4);
        assert_eq!(victim.driver.wait_used(0, 2), (4, 513));
        victim.driver.describe_at(DATA, &[Buffer(DATA, 16, INDIRECT, 0)]);
        victim.driver.offer(0, 3);
        victim.driver.wait_broken();
        // Not negotiated: not known.
        victim.driver.start(VERSION_1, 16);
        victim.driver.describe_at(DATA, &table);
        victim.driver.describe(0, 3, &[Buffer(DATA, 48, INDIRECT, 0)]);
        victim.driver.offer(0, 3);
        victim.driver.wait_broken();
    }
}

#[test]
fn file_that_shrank_gives_errors() {
    for spec in specs() {
        let mut victim = Victim::new(spec);
        victim.file.set_len(512).unwrap();
        assert_eq!(victim.request(VIRTIO_BLK_T_IN, 0, &[(DATA, 1024, WRITE)]).0, IOERR);
        assert_eq!(victim.request(VIRTIO_BLK_T_IN, 8, &[(DATA, 512, WRITE)]).0, IOERR);
        assert_eq!(victim.request(VIRTIO_BLK_T_IN, 0, &[(DATA, 512, WRITE)]).0, OK);
    }
}

fn bytes(file: &File, range: std::ops::Range<u64>) -> Vec<u8> {
    let mut bytes = vec![0; (range.end - range.start) as usize * 512];
    file.read_exact_at(&mut bytes, range.start * 512).unwrap();
    bytes
}

/// What the sectors are in the beginning.
fn sectors(range: std::ops::Range<u8>) -> Vec<u8> {
    range.flat_map(|sector| [sector; 512]).collect()
}

#[test]
fn extents_are_discarded_and_zeroed_one_by_one() {
    for spec in specs() {
        let mut victim = Victim::new(spec);
        assert_eq!(victim.extents(DISCARD, &[(8, 8, 0), (24, 16, 0)]), OK);
        // This host's files know holes: what is discarded reads as zeros here.
        assert_eq!(bytes(&victim.file, 8..16), [0; 8 * 512]);
        assert_eq!(bytes(&victim.file, 24..40), [0; 16 * 512]);
        assert_eq!(victim.extents(ZEROES, &[(0, 1, 0), (2, 1, 1), (63, 1, 1), (5, 2, 0)]), OK);
        let zero = |sector: u64| bytes(&victim.file, sector..sector + 1) == [0; 512];
        let touched: Vec<u64> = (0..64).filter(|sector| zero(*sector)).collect();
        let discarded = (8..16).chain(24..40);
        let mut expected: Vec<u64> = [0, 2, 5, 6, 63].into_iter().chain(discarded).collect();
        expected.sort_unstable();
        assert_eq!(touched, expected);
        assert_eq!(victim.file.metadata().unwrap().len(), SECTORS * 512 + 4);
    }
}

#[test]
fn extents_out_of_bounds_change_nothing() {
    for spec in specs() {
        let mut victim = Victim::new(spec);
        let cases: &[(&str, (u64, u32, u32))] = &[
            ("no sectors", (0, 0, 0)),
            ("behind the end", (SECTORS, 1, 0)),
            ("across the end", (SECTORS - 1, 2, 0)),
            ("sector that overflows", (u64::MAX, 1, 0)),
            ("end that overflows", (u64::MAX - 7, 8, 0)),
            ("offset that overflows", (u64::MAX / 512, 8, 0)),
            ("count beyond the limit", (0, u32::MAX, 0)),
            ("count and sector", (u64::MAX, u32::MAX, 0)),
        ];
        for (name, extent) in cases {
            for kind in [DISCARD, ZEROES] {
                assert_eq!(victim.extents(kind, &[*extent]), IOERR, "{name}");
                // One that is sound does not save the request, wherever it stands.
                assert_eq!(victim.extents(kind, &[(0, 8, 0), *extent]), IOERR, "{name}");
            }
        }
        for (kind, flags) in [(DISCARD, 1), (DISCARD, 2), (ZEROES, 2), (ZEROES, u32::MAX)] {
            assert_eq!(victim.extents(kind, &[(0, 8, flags)]), UNSUPPORTED);
        }
        assert_eq!(bytes(&victim.file, 0..64), sectors(0..64));
        assert_eq!(victim.file.metadata().unwrap().len(), SECTORS * 512 + 4);
    }
}

#[test]
fn the_limits_are_those_of_the_configuration_space() {
    let victim = Victim::new(specs()[0]);
    let field = |offset: u64| victim.driver.read(0x100 + offset);
    assert_eq!((field(0), field(4), field(12)), (SECTORS as u32, 0, 254));
    assert_eq!((field(36), field(40), field(44)), (DISCARD_SECTORS_MAX, DISCARD_EXTENTS_MAX, 8));
    assert_eq!((field(48), field(52), field(56)), (ZEROES_SECTORS_MAX, ZEROES_EXTENTS_MAX, 1));
    assert_ne!(victim.driver.read(0x010) & (1 << 13 | 1 << 14), 0, "discard and write zeroes");
}

#[test]
fn what_a_request_asks_for_is_read_once() {
    let victim = Victim::new(specs()[0]);
    let memory = victim.driver.memory.clone();
    let disk = Disk {
        medium: crate::drive::RawDrive::from_file(disk()).unwrap().into(),
        read_only: false,
        flush: true,
        serial: Default::default(),
    };
    victim.header(VIRTIO_BLK_T_OUT, 5);
    victim.driver.describe(
        0,
        0,
        &[Buffer(HEADER, 16, NEXT, 1), Buffer(DATA, 512, NEXT, 2), Buffer(STATUS, 1, WRITE, 0)],
    );
    let mut chain = Chain::default();
    let table = crate::virtio::chain::DescriptorTable { address: GuestAddress(0x1_0000), length: 16 };
    chain.read(&memory, table, 0, true).unwrap();
    let operation = Operation::read(&disk, &memory, &chain).unwrap();
    victim.header(VIRTIO_BLK_T_FLUSH, u64::MAX);
    assert!(matches!(operation, Operation::Write { offset: 2560, from } if from.len() == 512));
    assert_eq!((operation.kind(), operation.length()), (Kind::Write, 512));
}

#[test]
fn a_guest_that_changes_its_requests_meanwhile_gets_nowhere_else() {
    for mut spec in specs() {
        for read_only in [true, false] {
            spec.read_only = read_only;
            let mut victim = Victim::new(spec);
            let (memory, stop) = (victim.driver.memory.clone(), std::sync::Arc::new(AtomicBool::new(false)));
            let stopped = stop.clone();
            let vandal = std::thread::spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    for (kind, sector) in
                        [(VIRTIO_BLK_T_IN, SECTORS - 1), (VIRTIO_BLK_T_OUT, SECTORS), (VIRTIO_BLK_T_OUT, 1)]
                    {
                        memory.write_obj(kind, GuestAddress(HEADER)).unwrap();
                        memory.write_obj(sector, GuestAddress(HEADER + 8)).unwrap();
                    }
                }
            });
            for round in 0..3000_u16 {
                let direction = [0, WRITE][usize::from(round % 2)];
                victim.request(VIRTIO_BLK_T_IN, 1, &[(DATA, 512, direction)]);
            }
            stop.store(true, Ordering::Relaxed);
            vandal.join().unwrap();
            assert_eq!(victim.file.metadata().unwrap().len(), SECTORS * 512 + 4);
            let writable: Vec<u64> = if read_only { vec![] } else { vec![1, SECTORS - 1] };
            for sector in (0..SECTORS).filter(|sector| !writable.contains(sector)) {
                assert_eq!(bytes(&victim.file, sector..sector + 1), [sector as u8; 512], "{sector}");
            }
        }
    }
}
