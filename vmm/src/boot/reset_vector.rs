//! What a processor finds where firmware would be: a reset.
//!
//! A Linux with EFI support that meets hardware-reduced ACPI resets by EFI, and where there is none, by the
//! firmware's real-mode entry (`arch/x86/kernel/reboot.c`, `reboot_init` and `machine_real_restart`). It
//! asks neither ACPI's reset register nor the keyboard controller before.

use vm_memory::{Bytes, GuestAddress};

use super::BootError;
use super::acpi::{RESET_VALUE, ports};
use crate::memory::{GuestMemory, layout};

/// `mov dx, RESET; mov al, RESET_VALUE; out dx, al; hlt; jmp` to the `hlt`.
const CODE: [u8; 9] = {
    let [low, high] = ports::RESET.to_le_bytes();
    [0xba, low, high, 0xb0, RESET_VALUE, 0xee, 0xf4, 0xeb, 0xfd]
};

/// Writes the code where a processor in real mode starts.
pub fn write_reset_vector(memory: &GuestMemory) -> Result<(), BootError> {
    Ok(memory.write_slice(&CODE, GuestAddress(layout::RESET_VECTOR))?)
}
