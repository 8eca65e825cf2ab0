//! The ACPI tables (ACPI 6.5): hardware-reduced, so that a kernel looks for no legacy hardware.
//!
//! RSDP, XSDT, FADT, MADT, DSDT; nothing more than a Linux guest needs.

mod dsdt;
mod notices;
mod tables;

use acpi_tables::Aml;
use vm_memory::{Bytes, GuestAddress};

use super::BootError;
use crate::memory::{GuestMemory, layout};

/// Ports of the power registers, which FADT describes and `legacy::power` serves.
pub mod ports {
    /// Sleep control register (ACPI 6.5 section 4.8.3.7).
    pub const SLEEP_CONTROL: u16 = 0x0bd8;
    /// Sleep status register (section 4.8.3.8).
    pub const SLEEP_STATUS: u16 = 0x0bd9;
    /// Reset register (section 4.8.3.6).
    pub const RESET: u16 = 0x0bda;
    /// The register of events, which `legacy::events` serves.
    pub const EVENTS: u16 = 0x0bdb;
}

/// Bit of the register of events: the power button was pressed.
pub const EVENT_POWER_BUTTON: u8 = 1;
/// Bit of the register of events: the machine has a new generation.
pub const EVENT_GENERATION: u8 = 2;

/// `SLP_TYP` of S5, soft off: what a guest writes to the sleep control register.
pub const SLEEP_TYPE_OFF: u8 = 5;
/// What a guest writes to the reset register.
pub const RESET_VALUE: u8 = 1;

/// A virtio-mmio device as the guest finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VirtioWindow {
    /// Where its registers start.
    pub address: u64,
    /// Its interrupt line.
    pub line: u32,
}

/// What the tables tell of.
#[derive(Debug, Clone, Copy)]
pub struct Platform<'a> {
    /// How many vCPUs there are.
    pub vcpus: u8,
    /// Whether there is a keyboard controller.
    pub keyboard: bool,
    /// The virtio devices, in their order.
    pub devices: &'a [VirtioWindow],
}

const OEM: [u8; 6] = *b"BLKHD ";
const OEM_TABLE: [u8; 8] = *b"BULKHEAD";
const OEM_REVISION: u32 = 1;

/// Writes the tables into the guest's memory and tells where the RSDP is.
pub fn write(memory: &GuestMemory, platform: &Platform<'_>) -> Result<u64, BootError> {
    let mut area = Area::default();
    let rsdp_size = acpi_tables::rsdp::Rsdp::len();
    area.place(&vec![0; rsdp_size]);
    let dsdt = area.place(&bytes(&dsdt::build(platform)));
    let fadt = area.place(&bytes(&tables::fadt(dsdt, platform.keyboard)));
    let madt = area.place(&bytes(&tables::madt(platform.vcpus)));
    let xsdt = area.place(&bytes(&tables::xsdt(&[fadt, madt])));
    let rsdp = bytes(&acpi_tables::rsdp::Rsdp::new(OEM, xsdt));
    area.bytes[..rsdp.len()].copy_from_slice(&rsdp);

    let room = (layout::ACPI.end - layout::ACPI.start) as usize;
    if area.bytes.len() > room {
        return Err(BootError::AcpiTooLarge(area.bytes.len(), room));
    }
    memory.write_slice(&area.bytes, GuestAddress(layout::ACPI.start))?;
    Ok(layout::ACPI.start)
}

/// The tables one behind the other.
#[derive(Default)]
struct Area {
    bytes: Vec<u8>,
}

impl Area {
    /// Appends a table on a multiple of 16 bytes and tells its guest address.
    fn place(&mut self, table: &[u8]) -> u64 {
        self.bytes.resize(self.bytes.len().next_multiple_of(16), 0);
        let address = layout::ACPI.start + self.bytes.len() as u64;
        self.bytes.extend_from_slice(table);
        address
    }
}

fn bytes(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

#[cfg(test)]
#[path = "acpi_tests.rs"]
mod tests;
