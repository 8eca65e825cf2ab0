//! ACPI's sleep and reset registers, as FADT describes them.

use crate::boot::acpi::{RESET_VALUE, SLEEP_TYPE_OFF, ports};
use crate::bus::{BusDevice, Effect};

/// The first port.
pub const PORT: u16 = ports::SLEEP_CONTROL;
/// How many ports it has.
pub const PORTS: u64 = (ports::RESET - ports::SLEEP_CONTROL + 1) as u64;

/// `SLP_EN` of the sleep control register (ACPI 6.5 section 4.8.3.7).
const SLEEP_ENABLE: u8 = 1 << 5;
/// `SLP_TYPx` starts at this bit.
const SLEEP_TYPE_SHIFT: u8 = 2;
const RESET_OFFSET: u64 = (ports::RESET - ports::SLEEP_CONTROL) as u64;

/// Without state: a guest that is off does not ask.
pub struct PowerRegisters;

impl BusDevice for PowerRegisters {
    fn read(&mut self, _offset: u64, _data: &mut [u8]) {}

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        const OFF: u8 = SLEEP_TYPE_OFF << SLEEP_TYPE_SHIFT | SLEEP_ENABLE;
        match (offset, data) {
            (0, &[OFF]) => Effect::PowerOff,
            (RESET_OFFSET, &[RESET_VALUE]) => Effect::Reset,
            _ => Effect::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s5_with_enable_is_off_and_nothing_else_is() {
        assert_eq!(PowerRegisters.write(0, &[5 << 2 | 1 << 5]), Effect::PowerOff);
        for value in [0, 5 << 2, 1 << 5, 3 << 2 | 1 << 5] {
            assert_eq!(PowerRegisters.write(0, &[value]), Effect::None);
        }
        assert_eq!(PowerRegisters.write(1, &[5 << 2 | 1 << 5]), Effect::None);
    }

    #[test]
    fn the_reset_register_resets() {
        assert_eq!(PowerRegisters.write(2, &[1]), Effect::Reset);
        assert_eq!(PowerRegisters.write(2, &[0]), Effect::None);
    }
}
