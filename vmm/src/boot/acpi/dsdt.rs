//! The differentiated table: processors, the serial port, the keyboard, virtio devices, notices, S5.

use acpi_tables::Aml;
use acpi_tables::aml::{
    Device, EISAName, IO, Interrupt, Memory32Fixed, Name, Package, Path, ResourceTemplate, Scope,
};
use acpi_tables::sdt::Sdt;

use super::{OEM, OEM_REVISION, OEM_TABLE, Platform, SLEEP_TYPE_OFF, VirtioWindow, notices};
use crate::legacy::{i8042, serial};
use crate::memory::layout;

/// Size of a table's header.
const HEADER: u32 = 36;

/// Builds the table.
pub(super) fn build(platform: &Platform<'_>) -> Sdt {
    let mut body = Vec::new();
    let mut children = Vec::new();
    for index in 0..platform.vcpus {
        processor(index, &mut children);
    }
    serial_port(&mut children);
    if platform.keyboard {
        keyboard(&mut children);
    }
    // Linux numbers its interrupts in this order, whatever the lines are called. Its driver of the keyboard
    // controller, when it is told not to ask ACPI (`i8042.nopnp`), takes number 1 and shares it: a virtio device
    // that had that number would cost an exit more each time. The event device does not share.
    notices::devices(&mut children);
    for (index, device) in (0u8..).zip(platform.devices) {
        virtio(index, device, &mut children);
    }
    body.extend(Scope::raw(Path::new("_SB_"), children));
    let off: Vec<&dyn Aml> = vec![&SLEEP_TYPE_OFF, &0u8, &0u8, &0u8];
    Name::new(Path::new("_S5_"), &Package::new(off)).to_aml_bytes(&mut body);

    let mut table = Sdt::new(*b"DSDT", HEADER, 2, OEM, OEM_TABLE, OEM_REVISION);
    table.append_slice(&body);
    table
}

/// `PREFIX` and two hexadecimal digits: a name of four characters.
fn numbered(prefix: &str, index: u8) -> Path {
    Path::new(&format!("{prefix}{index:02X}"))
}

fn processor(index: u8, out: &mut Vec<u8>) {
    Device::new(
        numbered("CP", index),
        vec![&Name::new(Path::new("_HID"), &"ACPI0007"), &Name::new(Path::new("_UID"), &index)],
    )
    .to_aml_bytes(out);
}

fn serial_port(out: &mut Vec<u8>) {
    let ports = IO::new(serial::PORT, serial::PORT, 0, serial::PORTS as u8);
    let line = Interrupt::new(true, true, false, false, serial::LINE);
    Device::new(
        Path::new("COM1"),
        vec![
            &Name::new(Path::new("_HID"), &EISAName::new("PNP0501")),
            &Name::new(Path::new("_UID"), &0u8),
            &Name::new(Path::new("_CRS"), &ResourceTemplate::new(vec![&ports, &line])),
        ],
    )
    .to_aml_bytes(out);
}

fn keyboard(out: &mut Vec<u8>) {
    let data = IO::new(i8042::PORT, i8042::PORT, 0, 1);
    let command = IO::new(i8042::PORT + 4, i8042::PORT + 4, 0, 1);
    let line = Interrupt::new(true, true, false, false, layout::KEYBOARD_LINE);
    Device::new(
        Path::new("PS2K"),
        vec![
            &Name::new(Path::new("_HID"), &EISAName::new("PNP0303")),
            &Name::new(Path::new("_UID"), &0u8),
            &Name::new(Path::new("_CRS"), &ResourceTemplate::new(vec![&data, &command, &line])),
        ],
    )
    .to_aml_bytes(out);
}

fn virtio(index: u8, device: &VirtioWindow, out: &mut Vec<u8>) {
    // Windows lie in the gap below 4 GiB, so 32 bits hold their addresses.
    let window = Memory32Fixed::new(true, device.address as u32, layout::VIRTIO_WINDOW as u32);
    let line = Interrupt::new(true, true, false, false, device.line);
    Device::new(
        numbered("VR", index),
        vec![
            &Name::new(Path::new("_HID"), &"LNRO0005"),
            &Name::new(Path::new("_UID"), &index),
            &Name::new(Path::new("_CCA"), &1u8),
            &Name::new(Path::new("_CRS"), &ResourceTemplate::new(vec![&window, &line])),
        ],
    )
    .to_aml_bytes(out);
}
