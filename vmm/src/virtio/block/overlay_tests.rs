//! A drive with an overlay, from the guest's side.

use std::path::Path;
use std::process::Command;

use virtio_drivers::device::blk::VirtIOBlk;
use vm_memory::{Bytes, GuestAddress};

use crate::drive::Overlay;
use crate::virtio::block::{BlockDevice, BlockSpec};
use crate::virtio::device::VirtioDevice;
use crate::virtio::driver::{ArenaHal, Buffer, Hostile, Machine, NEXT, WRITE};
use crate::virtio::features::COMMON;

const MIB: usize = 1 << 20;
const HEADER: u64 = 0x1000;
const STATUS: u64 = 0x2000;
const DATA: u64 = 0x4_0000;

fn qemu_img(arguments: &[&str]) {
    let output = Command::new("qemu-img").args(arguments).output().expect("qemu-img of qemu-utils");
    assert!(output.status.success(), "{output:?}");
}

/// A base whose bytes are 0x55, with an overlay beside it.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    std::fs::write(folder.path().join("base"), vec![0x55; 4 * MIB]).unwrap();
    let overlay = folder.path().join("overlay");
    qemu_img(&["create", "-q", "-f", "qcow2", "-b", "base", "-F", "raw", overlay.to_str().unwrap()]);
    folder
}

fn device(folder: &Path, read_only: bool) -> BlockDevice {
    let (overlay, base) = (folder.join("overlay"), folder.join("base"));
    let overlay = Overlay::open(&overlay, &base, read_only, true).unwrap();
    let spec = BlockSpec { flush: true, read_only, ..BlockSpec::default() };
    let device = BlockDevice::new("rootfs", overlay, spec, std::sync::Arc::default()).unwrap();
    assert_eq!(device.threads(), 1);
    device
}

#[test]
fn a_strangers_driver_reads_the_base_and_writes_the_overlay() {
    let folder = folder();
    let machine = Machine::new();
    let mut drive = VirtIOBlk::<ArenaHal, _>::new(machine.window(device(folder.path(), false))).unwrap();
    assert_eq!(drive.capacity(), 8192);
    drive.write_blocks(3, &[0xab; 512]).unwrap();
    drive.write_blocks(200, &[0xcd; 128 << 10]).unwrap();
    drive.flush().unwrap();
    let mut data = vec![0; 512 << 10];
    drive.read_blocks(0, &mut data).unwrap();
    let mut expected = vec![0x55; 512 << 10];
    expected[3 * 512..4 * 512].fill(0xab);
    expected[200 * 512..][..128 << 10].fill(0xcd);
    assert!(data == expected);
    let mut id = [0; 20];
    assert_eq!(drive.device_id(&mut id), Ok(6));
    drop(drive);
    drop(machine);
    assert!(std::fs::read(folder.path().join("base")).unwrap() == vec![0x55; 4 * MIB]);
    qemu_img(&["check", "-q", folder.path().join("overlay").to_str().unwrap()]);
    let machine = Machine::new();
    let mut drive = VirtIOBlk::<ArenaHal, _>::new(machine.window(device(folder.path(), true))).unwrap();
    assert!(drive.readonly());
    drive.write_blocks(3, &[0; 512]).unwrap_err();
    drive.read_blocks(0, &mut data).unwrap();
    assert!(data == expected);
}

/// One request whose data are in several buffers, which are no whole sectors.
fn request(driver: &mut Hostile, kind: u32, sector: u64, data: &[u8], answer: u32) -> (u8, Vec<u8>) {
    driver.memory.write_obj(u64::from(kind), GuestAddress(HEADER)).unwrap();
    driver.memory.write_obj(sector, GuestAddress(HEADER + 8)).unwrap();
    driver.memory.write_obj(0xee_u8, GuestAddress(STATUS)).unwrap();
    driver.memory.write_slice(data, GuestAddress(DATA)).unwrap();
    let flags = if answer == 0 { NEXT } else { NEXT | WRITE };
    let length = answer.max(data.len() as u32);
    let buffers = [
        Buffer(HEADER, 16, NEXT, 1),
        Buffer(DATA, length / 3, flags, 2),
        Buffer(DATA + u64::from(length / 3), length - length / 3, flags, 3),
        Buffer(STATUS, 1, WRITE, 0),
    ];
    driver.describe(0, 0, &buffers);
    let before = driver.used(0);
    driver.offer(0, 0);
    driver.wait_used(0, before.wrapping_add(1));
    let mut bytes = vec![0; answer as usize];
    driver.memory.read_slice(&mut bytes, GuestAddress(DATA)).unwrap();
    (driver.memory.read_obj(GuestAddress(STATUS)).unwrap(), bytes)
}

#[test]
fn discards_and_zeroes_reach_the_overlay() {
    let folder = folder();
    let machine = Machine::new();
    let mut driver = Hostile::new(&machine, device(folder.path(), false));
    driver.start(COMMON, 16);
    // Discards go by the cluster.
    assert_eq!(driver.read(0x100 + 44), 128);
    let pages: Vec<u8> = (0..8192u32).map(|at| (at / 3) as u8 | 1).collect();
    assert_eq!(request(&mut driver, 1, 0, &pages, 0).0, 0);
    assert_eq!(request(&mut driver, 0, 0, &[], 8192), (0, pages));
    let zeroes = [2u64.to_le_bytes(), (2u64 | 1 << 32).to_le_bytes()].concat();
    assert_eq!(request(&mut driver, 13, 0, &zeroes, 0).0, 0);
    assert_eq!(request(&mut driver, 0, 2, &[], 1024), (0, vec![0; 1024]));
    let discard = [0u64.to_le_bytes(), 8192u64.to_le_bytes()].concat();
    assert_eq!(request(&mut driver, 11, 0, &discard, 0).0, 0);
    // What was written is gone; what nobody wrote is the base's.
    assert_eq!(request(&mut driver, 0, 0, &[], 512), (0, vec![0; 512]));
    assert_eq!(request(&mut driver, 0, 4096, &[], 512), (0, vec![0x55; 512]));
    assert_eq!(request(&mut driver, 4, 0, &[], 0).0, 0);
    drop(driver);
    drop(machine);
    qemu_img(&["check", "-q", folder.path().join("overlay").to_str().unwrap()]);
}
