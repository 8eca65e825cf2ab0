use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

use virtio_drivers::device::blk::{BlkReq, BlkResp, VirtIOBlk};
use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::virtio::block::BlockDevice;
use crate::virtio::driver::{ArenaHal, Buffer, Hostile, INDIRECT, Machine, NEXT, WRITE, Window};
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

fn device(file: &File, read_only: bool, flush: bool) -> BlockDevice {
    BlockDevice::new("rootfs", file.try_clone().unwrap(), read_only, flush).unwrap()
}

fn stranger(machine: &Machine, file: &File) -> VirtIOBlk<ArenaHal, Window> {
    VirtIOBlk::new(machine.window(device(file, false, true))).unwrap()
}

#[test]
fn a_strangers_driver_reads_writes_and_flushes() {
    let (machine, file) = (Machine::new(), disk());
    let mut drive = stranger(&machine, &file);
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

#[test]
fn requests_out_of_bounds_fail_and_the_drive_goes_on() {
    let (machine, file) = (Machine::new(), disk());
    let mut drive = stranger(&machine, &file);
    for sector in [SECTORS as usize, usize::MAX >> 9, usize::MAX] {
        drive.read_blocks(sector, &mut [0; 512]).unwrap_err();
        drive.write_blocks(sector, &[0; 512]).unwrap_err();
    }
    drive.read_blocks(SECTORS as usize - 1, &mut [0; 1024]).unwrap_err();
    drive.read_blocks(SECTORS as usize - 1, &mut [0; 512]).unwrap();
    assert_eq!(file.metadata().unwrap().len(), SECTORS * 512 + 4);
}

#[test]
fn requests_in_flight_together_are_all_served() {
    let (machine, file) = (Machine::new(), disk());
    let mut drive = stranger(&machine, &file);
    let mut requests: Vec<_> = (0..4).map(|_| (BlkReq::default(), BlkResp::default(), [0_u8; 512])).collect();
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
            crate::virtio::driver::wait_for("a request", || drive.peek_used() == Some(token));
            let (request, response, data) = &mut requests[index];
            // SAFETY: the same buffers as above.
            #[allow(unsafe_code, reason = "the driver crate's way to have several requests in flight")]
            unsafe { drive.complete_read_blocks(token, request, data, response) }.unwrap();
            assert!(data.iter().all(|&byte| usize::from(byte) == (round + index) % 64));
        }
    }
}

struct Victim {
    driver: Hostile,
    _machine: Machine,
    file: File,
}

impl Victim {
    fn new(read_only: bool, flush: bool) -> Victim {
        let (machine, file) = (Machine::new(), disk());
        let mut driver = Hostile::new(&machine, device(&file, read_only, flush));
        driver.start(VERSION_1 | COMMON, 16);
        Victim { driver, _machine: machine, file }
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

const OK: u8 = VIRTIO_BLK_S_OK as u8;
const IOERR: u8 = VIRTIO_BLK_S_IOERR as u8;
const UNSUPPORTED: u8 = VIRTIO_BLK_S_UNSUPP as u8;

#[test]
fn every_malformed_request_with_a_status_byte_gets_an_error() {
    let mut victim = Victim::new(false, true);
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
        ("discard", 11, 0, &[(DATA, 16, 0)], UNSUPPORTED),
        ("write zeroes", 13, 0, &[(DATA, 16, 0)], UNSUPPORTED),
        ("SCSI", 2, 0, &[(DATA, 512, WRITE)], UNSUPPORTED),
        ("no such type", u32::MAX, 0, &[(DATA, 512, WRITE)], UNSUPPORTED),
    ];
    let length = victim.file.metadata().unwrap().len();
    for (name, kind, sector, data, expected) in cases {
        assert_eq!(victim.request(*kind, *sector, data).0, *expected, "{name}");
    }
    assert_eq!(victim.file.metadata().unwrap().len(), length, "the file grew");
}

#[test]
fn used_length_counts_what_was_written() {
    let mut victim = Victim::new(false, true);
    assert_eq!(victim.request(VIRTIO_BLK_T_IN, 3, &[(DATA, 1024, WRITE)]), (OK, 1025));
    assert_eq!(victim.request(VIRTIO_BLK_T_OUT, 3, &[(DATA, 1024, 0)]), (OK, 1));
    assert_eq!(victim.request(VIRTIO_BLK_T_IN, SECTORS, &[(DATA, 512, WRITE)]), (IOERR, 0));
    assert_eq!(victim.request(VIRTIO_BLK_T_GET_ID, 0, &[(DATA, 20, WRITE)]), (OK, 21));
}

#[test]
fn read_only_and_unflushable_drives_say_so() {
    let mut victim = Victim::new(true, false);
    assert_ne!(victim.driver.read(0x010) & 1 << 5, 0, "VIRTIO_BLK_F_RO");
    assert_eq!(victim.driver.read(0x010) & 1 << 9, 0, "VIRTIO_BLK_F_FLUSH");
    assert_eq!(victim.request(VIRTIO_BLK_T_OUT, 0, &[(DATA, 512, 0)]).0, IOERR);
    assert_eq!(victim.request(VIRTIO_BLK_T_FLUSH, 0, &[]).0, UNSUPPORTED);
    assert_eq!(victim.request(VIRTIO_BLK_T_IN, 0, &[(DATA, 512, WRITE)]).0, OK);
}

#[test]
fn no_dangerous_features_are_offered() {
    let victim = Victim::new(false, true);
    // SCSI, multi-queue, discard, write zeroes, lifetime, secure erase, packed rings, in-order, IOMMU.
    let low = victim.driver.read(0x010);
    assert_eq!(low & (1 << 7 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 15 | 1 << 16), 0);
    victim.driver.write(0x014, 1);
    assert_eq!(victim.driver.read(0x010), 1, "only version 1 above bit 31");
}

#[test]
fn requests_that_cannot_be_answered_break_the_device_until_reset() {
    let mut victim = Victim::new(false, true);
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

#[test]
fn indirect_requests_work_and_nest_only_once() {
    let mut victim = Victim::new(false, true);
    victim.header(VIRTIO_BLK_T_IN, 7);
    let table =
        [Buffer(HEADER, 16, NEXT, 1), Buffer(DATA + 4096, 512, NEXT | WRITE, 2), Buffer(STATUS, 1, WRITE, 0)];
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

#[test]
fn file_that_shrank_gives_errors() {
    let mut victim = Victim::new(false, true);
    victim.file.set_len(512).unwrap();
    assert_eq!(victim.request(VIRTIO_BLK_T_IN, 0, &[(DATA, 1024, WRITE)]).0, IOERR);
    assert_eq!(victim.request(VIRTIO_BLK_T_IN, 8, &[(DATA, 512, WRITE)]).0, IOERR);
    assert_eq!(victim.request(VIRTIO_BLK_T_IN, 0, &[(DATA, 512, WRITE)]).0, OK);
}
