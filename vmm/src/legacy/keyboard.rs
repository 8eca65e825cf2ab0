//! The i8042 keyboard controller, as far as `reboot=k` needs it.

use crate::bus::{BusDevice, Effect};

/// The first port: data at offset 0, status and command at offset 4.
pub const PORT: u16 = 0x60;
/// How many ports it has.
pub const PORTS: u64 = 5;

const COMMAND: u64 = 4;
/// "Pulse output line 0", which a PC wires to the processor's reset.
const RESET: u8 = 0xfe;

/// Says that its buffers are empty; takes the reset command.
pub struct Keyboard;

impl BusDevice for Keyboard {
    fn read(&mut self, _offset: u64, _data: &mut [u8]) {}

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        if (offset, data) == (COMMAND, &[RESET]) { Effect::Reset } else { Effect::None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_reset_command_resets() {
        assert_eq!(Keyboard.write(COMMAND, &[RESET]), Effect::Reset);
        assert_eq!(Keyboard.write(0, &[RESET]), Effect::None);
        assert_eq!(Keyboard.write(COMMAND, &[0xff]), Effect::None);
    }
}
