//! The i8042 keyboard controller without a keyboard: enough for `reboot=k`, and for a kernel that looks
//! for the controller to be done quickly.

use crate::bus::{BusDevice, Effect};

/// The first port: data at offset 0, status and command at offset 4.
pub const PORT: u16 = 0x60;
/// How many ports it has.
pub const PORTS: u64 = 5;

const DATA: u64 = 0;
const COMMAND: u64 = 4;

/// Status: a byte waits to be read.
const OUTPUT_FULL: u8 = 1;
/// Status: the self-test has passed.
const SYSTEM: u8 = 1 << 2;

const READ_CONTROL: u8 = 0x20;
const WRITE_CONTROL: u8 = 0x60;
const TEST_CONTROLLER: u8 = 0xaa;
const TEST_KEYBOARD_PORT: u8 = 0xab;
const READ_OUTPUT_PORT: u8 = 0xd0;
const WRITE_OUTPUT_PORT: u8 = 0xd1;
/// "Pulse output line 0", which a PC wires to the processor's reset.
const RESET: u8 = 0xfe;
/// Output port: line 0 is high, the processor runs.
const RUNNING: u8 = 1;

/// What the next byte of data means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// It is for the keyboard, which is not there.
    Nothing,
    Control,
    OutputPort,
}

/// The controller's registers.
#[derive(Debug)]
pub struct Keyboard {
    control: u8,
    output: Option<u8>,
    expected: Expected,
}

impl Default for Keyboard {
    fn default() -> Self {
        Self { control: SYSTEM, output: None, expected: Expected::Nothing }
    }
}

impl Keyboard {
    fn command(&mut self, command: u8) -> Effect {
        self.expected = Expected::Nothing;
        match command {
            RESET => return Effect::Reset,
            READ_CONTROL => self.output = Some(self.control),
            WRITE_CONTROL => self.expected = Expected::Control,
            TEST_CONTROLLER => self.output = Some(0x55),
            TEST_KEYBOARD_PORT => self.output = Some(0),
            READ_OUTPUT_PORT => self.output = Some(RUNNING),
            WRITE_OUTPUT_PORT => self.expected = Expected::OutputPort,
            _ => {}
        }
        Effect::None
    }

    fn data(&mut self, value: u8) -> Effect {
        match std::mem::replace(&mut self.expected, Expected::Nothing) {
            Expected::Control => self.control = value,
            Expected::OutputPort if value & RUNNING == 0 => return Effect::Reset,
            Expected::OutputPort | Expected::Nothing => {}
        }
        Effect::None
    }
}

impl BusDevice for Keyboard {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        let [value] = data else { return };
        *value = match offset {
            DATA => self.output.take().unwrap_or(0),
            COMMAND => SYSTEM | if self.output.is_some() { OUTPUT_FULL } else { 0 },
            _ => 0,
        };
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        match (offset, data) {
            (COMMAND, &[command]) => self.command(command),
            (DATA, &[value]) => self.data(value),
            _ => Effect::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(keyboard: &mut Keyboard, offset: u64) -> u8 {
        let mut data = [0];
        keyboard.read(offset, &mut data);
        data[0]
    }

    #[test]
    fn only_the_reset_commands_reset() {
        for command in 0..=u8::MAX {
            let effect = Keyboard::default().write(COMMAND, &[command]);
            assert_eq!(effect == Effect::Reset, command == RESET, "{command:#x}");
        }
        let mut keyboard = Keyboard::default();
        assert_eq!(keyboard.write(DATA, &[RESET]), Effect::None);
        keyboard.write(COMMAND, &[WRITE_OUTPUT_PORT]);
        assert_eq!(keyboard.write(DATA, &[RESET]), Effect::Reset);
    }

    #[test]
    fn the_control_byte_is_kept() {
        let mut keyboard = Keyboard::default();
        keyboard.write(COMMAND, &[WRITE_CONTROL]);
        keyboard.write(DATA, &[0x47]);
        keyboard.write(COMMAND, &[READ_CONTROL]);
        assert_eq!(read(&mut keyboard, COMMAND) & OUTPUT_FULL, OUTPUT_FULL);
        assert_eq!(read(&mut keyboard, DATA), 0x47);
        assert_eq!(read(&mut keyboard, COMMAND) & OUTPUT_FULL, 0);
    }
}
