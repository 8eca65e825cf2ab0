//! When the guest's writes to COM1 wait in a ring, and for how long.
//!
//! FIFO control, line control and modem control answer nothing, so that a guest learns nothing from when they
//! arrive: they are always gathered. The transmitter's register is, from when the guest switches the FIFOs on: a
//! driver that has them writes up to 16 bytes and then looks (line status, interrupt identification), which brings
//! everything here. For one that looks before it writes and not again, a timer fetches what is left. One that waits
//! for the transmitter's interrupt and does not look is not gathered for any more.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use vmm_sys_util::timerfd::TimerFd;

use super::PORT;

/// FIFO, line and modem control: these ports, each to be written in any order.
pub const CONTROLS: (u16, u32) = (PORT + 2, 3);
/// The transmitter's register (and, with DLAB, the divisor's lower byte).
pub const TRANSMITTER: (u16, u32) = (PORT, 1);

/// How long output may wait after the guest's last access that left it.
const PATIENCE: Duration = Duration::from_millis(20);
/// After how many times that nothing was found although the guest waits for an interrupt it is let alone. More than
/// one: a vCPU may just not have run.
const FRUITLESS: u8 = 5;

/// Starts (true) and stops the gathering of [`TRANSMITTER`]; tells whether that worked.
pub type Switch = Box<dyn Fn(bool) -> bool + Send>;

/// The gathering of [`TRANSMITTER`].
pub struct Gathering {
    switch: Switch,
    state: State,
    timer: TimerFd,
    armed: bool,
    fruitless: u8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The guest has not switched the FIFOs on yet.
    Before,
    On,
    /// It is not for this guest, or not for this host.
    Over,
}

impl Gathering {
    /// Not started yet.
    pub fn new(switch: Switch) -> io::Result<Self> {
        Ok(Self { switch, state: State::Before, timer: TimerFd::new()?, armed: false, fruitless: 0 })
    }

    /// Readable when it is time to look at what was gathered, and then to call [`Gathering::timer_rang`].
    pub fn timer(&self) -> RawFd {
        self.timer.as_raw_fd()
    }

    /// The guest has switched the FIFOs on.
    pub fn fifos_on(&mut self) {
        if self.state == State::Before {
            self.state = if (self.switch)(true) { State::On } else { State::Over };
        }
    }

    /// The guest has accessed the port: it may write next without leaving.
    pub fn accessed(&mut self) {
        if self.state == State::On && !self.armed {
            // Where there is no time to be had, gathering is over.
            self.armed = self.timer.reset(PATIENCE, None).is_ok();
            if !self.armed {
                self.stop();
            }
        }
    }

    /// Takes the ring of the timer. Call this, take what was gathered, then [`Gathering::looked`].
    pub fn timer_rang(&mut self) {
        // It is readable, so that this does not wait.
        let _ = self.timer.wait();
        self.armed = false;
    }

    /// What was gathered has been taken, and there was something or not; `waiting`: the guest has the transmitter's
    /// interrupt enabled. Tells whether gathering is over: then look once more.
    pub fn looked(&mut self, found: bool, waiting: bool) -> bool {
        self.fruitless = if waiting && !found { self.fruitless + 1 } else { 0 };
        if self.fruitless == FRUITLESS {
            self.stop();
        } else if waiting {
            self.accessed();
        }
        self.state == State::Over
    }

    fn stop(&mut self) {
        if self.state == State::On {
            (self.switch)(false);
        }
        self.state = State::Over;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn gathering(works: bool) -> (Gathering, Arc<Mutex<Vec<bool>>>) {
        let calls = Arc::<Mutex<Vec<bool>>>::default();
        let seen = Arc::clone(&calls);
        let switch = move |on| {
            seen.lock().unwrap().push(on);
            works
        };
        (Gathering::new(Box::new(switch)).unwrap(), calls)
    }

    #[test]
    fn it_starts_with_the_fifos_and_once() {
        let (mut gathering, calls) = gathering(true);
        gathering.accessed();
        assert!(!gathering.armed, "nothing is gathered yet");
        gathering.fifos_on();
        gathering.fifos_on();
        assert_eq!(*calls.lock().unwrap(), [true]);
        gathering.accessed();
        assert!(gathering.armed);
        gathering.timer_rang();
        gathering.looked(true, false);
        assert!(!gathering.armed, "an idle guest costs no timer");
    }

    #[test]
    fn a_guest_that_waits_for_an_interrupt_and_does_not_look_is_let_alone() {
        let (mut gathering, calls) = gathering(true);
        gathering.fifos_on();
        gathering.accessed();
        for found in [false, false, false, false, true, false, false, false, false] {
            assert!(gathering.armed);
            gathering.timer_rang();
            gathering.looked(found, true);
        }
        assert_eq!(*calls.lock().unwrap(), [true]);
        gathering.timer_rang();
        gathering.looked(false, true);
        assert_eq!(*calls.lock().unwrap(), [true, false]);
        gathering.fifos_on();
        gathering.accessed();
        assert!(!gathering.armed);
        assert_eq!(*calls.lock().unwrap(), [true, false], "for good");
    }

    #[test]
    fn a_host_that_gathers_nothing_is_asked_once() {
        let (mut gathering, calls) = gathering(false);
        gathering.fifos_on();
        gathering.fifos_on();
        gathering.accessed();
        assert!(!gathering.armed);
        assert_eq!(*calls.lock().unwrap(), [true]);
    }
}
