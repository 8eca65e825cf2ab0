//! The fixed tables.

use acpi_tables::fadt::{FADT, FADTBuilder, Flags, PmProfile};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::madt::{EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic};
use acpi_tables::xsdt::XSDT;

use super::{OEM, OEM_REVISION, OEM_TABLE, RESET_VALUE, ports};
use crate::memory::layout;

/// `IAPC_BOOT_ARCH`: do not look for VGA; no MSI; no CMOS clock (ACPI 6.5 table 5.11). "Legacy devices" is
/// clear, so a kernel does not look for them either.
const BOOT_ARCHITECTURE: u16 = 1 << 2 | 1 << 3 | 1 << 5;
/// `IAPC_BOOT_ARCH`: there is a keyboard controller.
const HAS_8042: u16 = 1 << 1;

/// Fixed hardware: none but a way to sleep and to reset.
pub(super) fn fadt(dsdt: u64, keyboard: bool) -> FADT {
    let mut fadt = FADTBuilder::new(OEM, OEM_TABLE, OEM_REVISION)
        .dsdt_64(dsdt)
        .preferred_pm_profile(PmProfile::EnterpriseServer)
        .flag(Flags::Wbinvd)
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton)
        .flag(Flags::ResetRegSup)
        .flag(Flags::Headless)
        .flag(Flags::HwReducedAcpi);
    fadt.iapc_boot_arch = (BOOT_ARCHITECTURE | if keyboard { HAS_8042 } else { 0 }).into();
    fadt.reset_reg = port(ports::RESET);
    fadt.reset_value = RESET_VALUE;
    fadt.sleep_control_reg = port(ports::SLEEP_CONTROL);
    fadt.sleep_status_reg = port(ports::SLEEP_STATUS);
    fadt.hypervisor_vendor_identity = u64::from_le_bytes(OEM_TABLE).into();
    fadt.finalize()
}

/// Interrupt controllers: one I/O APIC, a local APIC a vCPU.
pub(super) fn madt(vcpus: u8) -> MADT {
    let local = LocalInterruptController::Address(layout::LOCAL_APIC);
    let mut madt = MADT::new(OEM, OEM_TABLE, OEM_REVISION, local);
    madt.add_structure(IoApic::new(0, layout::IO_APIC, 0));
    for index in 0..vcpus {
        madt.add_structure(ProcessorLocalApic::new(index, index, EnabledStatus::Enabled));
    }
    madt
}

/// The list of the other tables.
pub(super) fn xsdt(tables: &[u64]) -> XSDT {
    let mut xsdt = XSDT::new(OEM, OEM_TABLE, OEM_REVISION);
    for address in tables {
        xsdt.add_entry(*address);
    }
    xsdt
}

fn port(number: u16) -> GAS {
    GAS::new(AddressSpace::SystemIo, 8, 0, AccessSize::ByteAccess, number.into())
}
