//! The i8042 keyboard controller with a keyboard and without a mouse: enough for a kernel to find the keyboard
//! quickly and to hear Ctrl+Alt+Del, and for `reboot=k`.

use vmm_sys_util::eventfd::EventFd;

use super::keyboard::Keyboard;
use crate::bus::{BusDevice, Effect};

/// The first port: data at offset 0, status and command at offset 4.
pub const PORT: u16 = 0x60;
/// How many ports it has.
pub const PORTS: u64 = 5;

const DATA: u64 = 0;
const COMMAND: u64 = 4;

/// Status: a byte waits to be read.
const OUTPUT_FULL: u8 = 1;
/// Status and control: the self-test has passed.
const SYSTEM: u8 = 1 << 2;
/// Control: a byte of the keyboard raises the interrupt.
const KEYBOARD_INTERRUPT: u8 = 1;
/// Control: the keyboard's clock is held, so that it says nothing.
const KEYBOARD_OFF: u8 = 1 << 4;
/// Control: what the keyboard says is translated from scan code set 2 to 1.
const TRANSLATE: u8 = 1 << 6;

const READ_CONTROL: u8 = 0x20;
const WRITE_CONTROL: u8 = 0x60;
const TEST_MOUSE_PORT: u8 = 0xa9;
const TEST_CONTROLLER: u8 = 0xaa;
const TEST_KEYBOARD_PORT: u8 = 0xab;
const DISABLE_KEYBOARD: u8 = 0xad;
const ENABLE_KEYBOARD: u8 = 0xae;
const READ_OUTPUT_PORT: u8 = 0xd0;
const WRITE_OUTPUT_PORT: u8 = 0xd1;
const LOOP_BACK: u8 = 0xd3;
const TO_MOUSE: u8 = 0xd4;
/// "Pulse output line 0", which a PC wires to the processor's reset.
const RESET: u8 = 0xfe;
/// Output port: line 0 is high, the processor runs.
const RUNNING: u8 = 1;
/// What the self-test says when all is well.
const FINE: u8 = 0x55;
/// "Clock line stuck low": there is no mouse.
const STUCK: u8 = 1;

/// Why nothing is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyboardError {
    /// The machine has no controller.
    #[error("The machine has no keyboard controller (machine-config.i8042 is false)")]
    Absent,
    /// The guest has not set it up.
    #[error("The guest does not listen to its keyboard")]
    Unheard,
    /// The guest does not read.
    #[error("The guest does not read what its keyboard has said")]
    Full,
}

/// What the next byte of data means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// It is for the keyboard.
    Keyboard,
    Control,
    OutputPort,
    Echo,
    /// It is for a mouse that is not there.
    Nothing,
}

/// The controller's registers, and the keyboard behind it.
pub struct Controller {
    control: u8,
    /// The controller's own answer; it comes before what the keyboard says.
    answer: Option<u8>,
    expected: Expected,
    keyboard: Keyboard,
    line: EventFd,
}

impl Controller {
    /// `line` is signalled to raise the interrupt.
    pub fn new(line: EventFd) -> Self {
        let (keyboard, expected) = (Keyboard::default(), Expected::Keyboard);
        Self { control: SYSTEM, answer: None, expected, keyboard, line }
    }

    /// Types Ctrl+Alt+Del.
    pub fn type_ctrl_alt_del(&mut self) -> Result<(), KeyboardError> {
        if self.control & KEYBOARD_INTERRUPT == 0 {
            return Err(KeyboardError::Unheard);
        }
        let idle = !self.keyboard_speaks();
        if !self.keyboard.type_ctrl_alt_del(self.translates()) {
            return Err(if idle { KeyboardError::Unheard } else { KeyboardError::Full });
        }
        if idle {
            self.interrupt();
        }
        Ok(())
    }

    fn command(&mut self, command: u8) -> Effect {
        self.expected = match command {
            WRITE_CONTROL => Expected::Control,
            WRITE_OUTPUT_PORT => Expected::OutputPort,
            LOOP_BACK => Expected::Echo,
            TO_MOUSE => Expected::Nothing,
            _ => Expected::Keyboard,
        };
        match command {
            RESET => return Effect::Reset,
            READ_CONTROL => self.answer = Some(self.control),
            TEST_CONTROLLER => self.answer = Some(FINE),
            TEST_KEYBOARD_PORT => self.answer = Some(0),
            TEST_MOUSE_PORT => self.answer = Some(STUCK),
            READ_OUTPUT_PORT => self.answer = Some(RUNNING),
            DISABLE_KEYBOARD => self.set_control(self.control | KEYBOARD_OFF),
            ENABLE_KEYBOARD => self.set_control(self.control & !KEYBOARD_OFF),
            _ => {}
        }
        Effect::None
    }

    fn data(&mut self, value: u8) -> Effect {
        match std::mem::replace(&mut self.expected, Expected::Keyboard) {
            Expected::Control => self.set_control(value),
            Expected::OutputPort if value & RUNNING == 0 => return Effect::Reset,
            Expected::OutputPort | Expected::Nothing => {}
            // Without the status bit of a mouse, so that a kernel that looks for one is soon done.
            Expected::Echo => self.answer = Some(value),
            Expected::Keyboard => {
                let idle = !self.keyboard_speaks();
                self.keyboard.command(value, self.translates());
                if idle {
                    self.interrupt();
                }
            }
        }
        Effect::None
    }

    fn set_control(&mut self, control: u8) {
        let heard = self.hears();
        self.control = control;
        if !heard {
            self.interrupt();
        }
    }

    fn read_data(&mut self) -> u8 {
        if let Some(answer) = self.answer.take() {
            return answer;
        }
        if !self.keyboard_speaks() {
            return 0;
        }
        let value = self.keyboard.take().unwrap_or(0);
        // One edge a byte.
        self.interrupt();
        value
    }

    fn translates(&self) -> bool {
        self.control & TRANSLATE != 0
    }

    fn hears(&self) -> bool {
        self.control & (KEYBOARD_INTERRUPT | KEYBOARD_OFF) == KEYBOARD_INTERRUPT
    }

    fn keyboard_speaks(&self) -> bool {
        self.control & KEYBOARD_OFF == 0 && self.keyboard.has_output()
    }

    /// Raises the line if the keyboard has a byte and the guest wants to hear of it.
    fn interrupt(&self) {
        if self.hears() && self.keyboard.has_output() {
            // Fails only when 2^64 - 1 interrupts wait already.
            let _ = self.line.write(1);
        }
    }
}

impl BusDevice for Controller {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        let [value] = data else { return };
        let full = self.answer.is_some() || self.keyboard_speaks();
        *value = match offset {
            DATA => self.read_data(),
            COMMAND => SYSTEM | if full { OUTPUT_FULL } else { 0 },
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
#[path = "i8042_tests.rs"]
mod tests;
