//! What the machine tells its guest of through ACPI: a register of events and its interrupt line.
//!
//! DSDT's Generic Event Device (ACPI 6.5 section 5.6.9) reads the register when the line is raised and
//! notifies the devices that are meant.

use vmm_sys_util::eventfd::EventFd;

use crate::boot::acpi::{EVENT_POWER_BUTTON, ports};
use crate::bus::{BusDevice, Effect};

/// Its port.
pub const PORT: u16 = ports::EVENTS;

/// Something that a guest is told of: a bit of the register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Event {
    /// The power button was pressed.
    PowerButton = EVENT_POWER_BUTTON,
}

/// The events that the guest has not heard of yet.
pub struct EventRegister {
    pending: u8,
    line: EventFd,
}

impl EventRegister {
    /// `line` is signalled to raise the interrupt.
    pub fn new(line: EventFd) -> Self {
        Self { pending: 0, line }
    }

    /// Tells the guest of `event`.
    pub fn raise(&mut self, event: Event) {
        self.pending |= event as u8;
        // Fails only when 2^64 - 1 interrupts wait already.
        let _ = self.line.write(1);
    }
}

impl BusDevice for EventRegister {
    /// Reading takes the events.
    fn read(&mut self, _offset: u64, data: &mut [u8]) {
        if let [value] = data {
            *value = std::mem::take(&mut self.pending);
        }
    }

    fn write(&mut self, _offset: u64, _data: &[u8]) -> Effect {
        Effect::None
    }
}

#[cfg(test)]
mod tests {
    use vmm_sys_util::eventfd::EFD_NONBLOCK;

    use super::*;

    #[test]
    fn an_event_is_heard_once() {
        let mut register = EventRegister::new(EventFd::new(EFD_NONBLOCK).unwrap());
        register.raise(Event::PowerButton);
        register.raise(Event::PowerButton);
        assert_eq!(register.line.read().unwrap(), 2);
        let mut data = [0];
        register.read(0, &mut data);
        assert_eq!(data, [1]);
        assert_eq!(register.write(0, &[0xff]), Effect::None);
        register.read(0, &mut data);
        assert_eq!(data, [0]);
    }
}
