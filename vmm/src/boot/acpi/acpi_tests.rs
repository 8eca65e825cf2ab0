use vm_memory::GuestMemoryBackend;

use super::*;

const DEVICES: [VirtioWindow; 2] =
    [VirtioWindow { address: 0xc000_0000, line: 5 }, VirtioWindow { address: 0xc000_1000, line: 6 }];

fn platform(vcpus: u8, devices: &[VirtioWindow]) -> Platform<'_> {
    Platform { vcpus, keyboard: true, devices }
}

struct Table {
    signature: [u8; 4],
    bytes: Vec<u8>,
}

fn read(memory: &GuestMemory, address: u64) -> Table {
    let length: u32 = memory.read_obj(GuestAddress(address + 4)).unwrap();
    let mut bytes = vec![0; length as usize];
    memory.read_slice(&mut bytes, GuestAddress(address)).unwrap();
    Table { signature: bytes[..4].try_into().unwrap(), bytes }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

#[test]
fn every_table_is_reached_from_the_rsdp_and_sums_to_zero() {
    let memory = crate::memory::map(2 << 20).unwrap();
    let rsdp = write(&memory, &platform(32, &DEVICES)).unwrap();
    let mut root = [0; 36];
    memory.read_slice(&mut root, GuestAddress(rsdp)).unwrap();
    assert_eq!(&root[..8], b"RSD PTR ");
    assert_eq!((sum(&root[..20]), sum(&root)), (0, 0));

    let xsdt = read(&memory, u64_at(&root, 24));
    assert_eq!((&xsdt.signature, sum(&xsdt.bytes)), (b"XSDT", 0));
    let fadt = read(&memory, u64_at(&xsdt.bytes, 36));
    let madt = read(&memory, u64_at(&xsdt.bytes, 44));
    let dsdt = read(&memory, u64_at(&fadt.bytes, 140));
    assert_eq!((&fadt.signature, sum(&fadt.bytes)), (b"FACP", 0));
    assert_eq!((&madt.signature, sum(&madt.bytes)), (b"APIC", 0));
    assert_eq!((&dsdt.signature, sum(&dsdt.bytes)), (b"DSDT", 0));
    assert_eq!(madt.bytes.len(), 44 + 12 + 32 * 8);
    assert!(memory.check_range(GuestAddress(rsdp), 0x1_0000));
}

#[test]
fn a_full_machine_fits() {
    let devices = vec![DEVICES[0]; layout::VIRTIO_LINES.len()];
    let memory = crate::memory::map(2 << 20).unwrap();
    write(&memory, &platform(32, &devices)).unwrap();
}

#[test]
fn devices_are_named_by_their_address_and_line() {
    let dsdt = bytes(&dsdt::build(&platform(1, &DEVICES)));
    let window: Vec<u8> = [0xc000_1000u32.to_le_bytes(), 0x1000u32.to_le_bytes()].concat();
    assert!(dsdt.windows(8).any(|bytes| bytes == window));
    let count = dsdt.windows(8).filter(|bytes| bytes == b"LNRO0005").count();
    assert_eq!(count, DEVICES.len());
}

#[test]
fn a_keyboard_is_told_of_in_both_places_or_in_none() {
    for keyboard in [true, false] {
        let platform = Platform { keyboard, ..platform(1, &[]) };
        let fadt = bytes(&tables::fadt(0, keyboard));
        // `IAPC_BOOT_ARCH` is at byte 109.
        assert_eq!(fadt[109] & 1 << 1 != 0, keyboard);
        let pnp0303 = acpi_tables::aml::EISAName::new("PNP0303");
        let (name, dsdt) = (bytes(&pnp0303), bytes(&dsdt::build(&platform)));
        assert_eq!(dsdt.windows(name.len()).any(|bytes| bytes == name), keyboard);
    }
}

#[test]
fn the_generation_and_the_button_are_there() {
    let dsdt = bytes(&dsdt::build(&platform(1, &[])));
    for name in
        [&b"VMGENCTR"[..], b"VM_Gen_Counter", b"ACPI0013", b"_EVT", b"PWRB", &0xe_f000u32.to_le_bytes()]
    {
        assert!(dsdt.windows(name.len()).any(|bytes| bytes == name), "{}", String::from_utf8_lossy(name));
    }
}
