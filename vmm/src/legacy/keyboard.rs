//! A PS/2 keyboard as far as kernels ask for one: it knows who it is, and types one combination.
//!
//! Commands and answers are those of the IBM PC/AT's keyboard; scan codes are of set 2, the only one that it
//! has. What it has to say waits in a small buffer, as in a real one; what does not fit is lost.

use std::collections::VecDeque;

/// How much waits to be read, at most.
const BUFFER: usize = 32;

const ACKNOWLEDGE: u8 = 0xfa;
const RESEND: u8 = 0xfe;
const SELF_TEST_PASSED: u8 = 0xaa;
/// "MF2 keyboard", and the same as a translating controller shows it.
const IDENTITY: [u8; 2] = [0xab, 0x83];
const IDENTITY_TRANSLATED: [u8; 2] = [0xab, 0x41];
const SCAN_CODE_SET: u8 = 2;

const SET_LEDS: u8 = 0xed;
const ECHO: u8 = 0xee;
const SELECT_SET: u8 = 0xf0;
const IDENTIFY: u8 = 0xf2;
const SET_RATE: u8 = 0xf3;
const ENABLE: u8 = 0xf4;
const DISABLE: u8 = 0xf5;
const DEFAULTS: u8 = 0xf6;
const RESET: u8 = 0xff;

/// Ctrl, Alt and Del go down, Del, Alt and Ctrl come up. Set 2.
const CTRL_ALT_DEL: [u8; 11] = [0x14, 0x11, 0xe0, 0x71, 0xe0, 0xf0, 0x71, 0xf0, 0x11, 0xf0, 0x14];
/// The same after a controller's translation to set 1.
const CTRL_ALT_DEL_TRANSLATED: [u8; 8] = [0x1d, 0x38, 0xe0, 0x53, 0xe0, 0xd3, 0xb8, 0x9d];

/// The keyboard's state.
#[derive(Debug)]
pub struct Keyboard {
    buffer: VecDeque<u8>,
    /// The command whose parameter comes next.
    command: Option<u8>,
    /// Keys are reported.
    scanning: bool,
}

impl Default for Keyboard {
    fn default() -> Self {
        Self { buffer: VecDeque::new(), command: None, scanning: true }
    }
}

impl Keyboard {
    /// Whether a byte waits to be read.
    pub fn has_output(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The byte that waits longest.
    pub fn take(&mut self) -> Option<u8> {
        self.buffer.pop_front()
    }

    /// Takes a byte from the host. `translated` tells whether the controller translates to set 1.
    pub fn command(&mut self, value: u8, translated: bool) {
        match self.command.take() {
            Some(command) => self.parameter(command, value),
            None => self.first_byte(value, translated),
        }
    }

    fn first_byte(&mut self, command: u8, translated: bool) {
        match command {
            SET_LEDS | SET_RATE | SELECT_SET => {
                self.command = Some(command);
                self.say(&[ACKNOWLEDGE]);
            }
            ECHO => self.say(&[ECHO]),
            IDENTIFY => {
                self.say(&[ACKNOWLEDGE]);
                self.say(if translated { &IDENTITY_TRANSLATED } else { &IDENTITY });
            }
            ENABLE | DISABLE | DEFAULTS => {
                self.scanning = command != DISABLE;
                self.say(&[ACKNOWLEDGE]);
            }
            RESET => {
                *self = Self::default();
                self.say(&[ACKNOWLEDGE, SELF_TEST_PASSED]);
            }
            _ => self.say(&[RESEND]),
        }
    }

    fn parameter(&mut self, command: u8, value: u8) {
        match (command, value) {
            (SELECT_SET, 0) => self.say(&[ACKNOWLEDGE, SCAN_CODE_SET]),
            (SELECT_SET, SCAN_CODE_SET) | (SET_LEDS | SET_RATE, _) => self.say(&[ACKNOWLEDGE]),
            _ => self.say(&[RESEND]),
        }
    }

    /// Types Ctrl+Alt+Del; tells whether the keyboard was on and had room for it.
    pub fn type_ctrl_alt_del(&mut self, translated: bool) -> bool {
        let codes = if translated { &CTRL_ALT_DEL_TRANSLATED[..] } else { &CTRL_ALT_DEL };
        let fits = self.scanning && self.buffer.len() + codes.len() <= BUFFER;
        if fits {
            self.say(codes);
        }
        fits
    }

    fn say(&mut self, bytes: &[u8]) {
        let room = BUFFER.saturating_sub(self.buffer.len());
        self.buffer.extend(bytes.iter().take(room));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(keyboard: &mut Keyboard, bytes: &[u8]) -> Vec<u8> {
        bytes.iter().for_each(|byte| keyboard.command(*byte, false));
        std::iter::from_fn(|| keyboard.take()).collect()
    }

    #[test]
    fn it_answers_what_linux_asks_when_it_probes() {
        let mut keyboard = Keyboard::default();
        assert_eq!(answers(&mut keyboard, &[RESET]), [0xfa, 0xaa]);
        assert_eq!(answers(&mut keyboard, &[IDENTIFY]), [0xfa, 0xab, 0x83]);
        assert_eq!(answers(&mut keyboard, &[SET_LEDS, 0]), [0xfa, 0xfa]);
        assert_eq!(answers(&mut keyboard, &[SET_RATE, 0]), [0xfa, 0xfa]);
        assert_eq!(answers(&mut keyboard, &[SELECT_SET, 2]), [0xfa, 0xfa]);
        assert_eq!(answers(&mut keyboard, &[SELECT_SET, 0]), [0xfa, 0xfa, 2]);
        assert_eq!(answers(&mut keyboard, &[SELECT_SET, 3]), [0xfa, 0xfe]);
        assert_eq!(answers(&mut keyboard, &[ENABLE, ECHO, 0x00]), [0xfa, 0xee, 0xfe]);
    }

    #[test]
    fn the_buffer_is_bounded_and_a_combination_comes_whole_or_not_at_all() {
        let mut keyboard = Keyboard::default();
        assert!(keyboard.type_ctrl_alt_del(false) && keyboard.type_ctrl_alt_del(true));
        assert!(keyboard.type_ctrl_alt_del(false));
        assert!(!keyboard.type_ctrl_alt_del(true));
        let typed = [&CTRL_ALT_DEL[..], &CTRL_ALT_DEL_TRANSLATED, &CTRL_ALT_DEL].concat();
        assert_eq!(answers(&mut keyboard, &[]), typed);
        for command in 0..=u8::MAX {
            (0..100).for_each(|_| keyboard.command(command, false));
            assert!(keyboard.buffer.len() <= BUFFER);
        }
    }

    #[test]
    fn a_keyboard_that_is_off_types_nothing() {
        let mut keyboard = Keyboard::default();
        assert_eq!(answers(&mut keyboard, &[DISABLE]), [0xfa]);
        assert!(!keyboard.type_ctrl_alt_del(false));
        assert_eq!(answers(&mut keyboard, &[DEFAULTS]), [0xfa]);
        assert!(keyboard.type_ctrl_alt_del(false));
    }
}
