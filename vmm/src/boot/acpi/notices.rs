//! What the guest is told of while it runs: the power button, a new generation, and the Generic Event Device
//! that says which (ACPI 6.5 section 5.6.9).

use acpi_tables::Aml;
use acpi_tables::aml::{
    And, Device, EISAName, Field, FieldAccessType, FieldEntry, FieldLockRule, FieldUpdateRule, If, Interrupt,
    Local, Method, Name, Notify, OpRegion, OpRegionSpace, Package, Path, ResourceTemplate, Store,
};

use super::{EVENT_GENERATION, EVENT_POWER_BUTTON, ports};
use crate::memory::layout;

/// "Status change" of a button (section 4.8.2.2) and of the generation (Microsoft's VMGenID).
const CHANGED: u8 = 0x80;

/// Writes the devices into `out`, which is the scope `\_SB`.
pub(super) fn devices(out: &mut Vec<u8>) {
    Device::new(
        Path::new("PWRB"),
        vec![&Name::new(Path::new("_HID"), &EISAName::new("PNP0C0C")), &Name::new(Path::new("_UID"), &0u8)],
    )
    .to_aml_bytes(out);
    generation(out);
    event_device(out);
}

/// The device that tells where the generation is. Kernels look for either name.
fn generation(out: &mut Vec<u8>) {
    // The page lies below 1 MiB, so the upper half of its address is zero.
    let low = layout::GENERATION.start as u32;
    Device::new(
        Path::new("VGEN"),
        vec![
            &Name::new(Path::new("_HID"), &"VMGENCTR"),
            &Name::new(Path::new("_CID"), &"VM_Gen_Counter"),
            &Name::new(Path::new("_DDN"), &"VM_Gen_Counter"),
            &Name::new(Path::new("_UID"), &0u8),
            &Name::new(Path::new("ADDR"), &Package::new(vec![&low, &0u8])),
        ],
    )
    .to_aml_bytes(out);
}

/// `_EVT` reads the register of events, which empties it, and notifies who is meant.
fn event_device(out: &mut Vec<u8>) {
    let line = Interrupt::new(true, true, false, false, layout::EVENTS_LINE);
    let fields = vec![FieldEntry::Named(*b"EVTS", 8)];
    let field = Field::new(
        Path::new("EVTR"),
        FieldAccessType::Byte,
        FieldLockRule::NoLock,
        FieldUpdateRule::Preserve,
        fields,
    );
    let (button, generation) = (Path::new("PWRB"), Path::new("VGEN"));
    let pressed = And::new(&Local(1), &Local(0), &EVENT_POWER_BUTTON);
    let changed = And::new(&Local(1), &Local(0), &EVENT_GENERATION);
    Device::new(
        Path::new("GED_"),
        vec![
            &Name::new(Path::new("_HID"), &"ACPI0013"),
            &Name::new(Path::new("_UID"), &0u8),
            &Name::new(Path::new("_CRS"), &ResourceTemplate::new(vec![&line])),
            &OpRegion::new(Path::new("EVTR"), OpRegionSpace::SystemIO, &ports::EVENTS, &1u8),
            &field,
            &Method::new(
                Path::new("_EVT"),
                1,
                true,
                vec![
                    &Store::new(&Local(0), &Path::new("EVTS")),
                    &If::new(&pressed, vec![&Notify::new(&button, &CHANGED)]),
                    &If::new(&changed, vec![&Notify::new(&generation, &CHANGED)]),
                ],
            ),
        ],
    )
    .to_aml_bytes(out);
}
