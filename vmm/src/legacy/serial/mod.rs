//! The serial port COM1: a 16550A in front of the console.

mod gathering;

use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vm_superio::Trigger;
use vm_superio::serial::{Serial, SerialEvents};
use vmm_sys_util::eventfd::EventFd;

use crate::bus::{BusDevice, Effect};
use crate::console::{Console, InputPort};
use crate::metrics::UartMetrics;

pub use self::gathering::{CONTROLS, Gathering, TRANSMITTER};

/// The first port.
pub const PORT: u16 = 0x3f8;
/// How many ports it has.
pub const PORTS: u64 = 8;
/// Its interrupt line.
pub const LINE: u32 = 4;

/// The interrupt enable register: Linux writes it when a transmission is over.
const INTERRUPT_ENABLE: u64 = 1;
/// Bit 1 of it: the transmitter's interrupt.
const TRANSMITTER_INTERRUPT: u8 = 2;
/// The FIFO control register, and its bit 0, which switches the FIFOs on. The registers' meaning: PC16550D, section 8.
const FIFO_CONTROL: u64 = 2;
const FIFOS_ON: u8 = 1;
/// Size of the receiver's FIFO in `vm_superio`.
const FIFO: usize = 64;

/// Raises the interrupt line.
struct Line(EventFd);

impl Trigger for Line {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

impl SerialEvents for UartMetrics {
    fn buffer_read(&self) {
        self.read_count.increment();
    }

    fn out_byte(&self) {
        self.write_count.increment();
    }

    fn tx_lost_byte(&self) {
        self.missed_write_count.increment();
    }

    fn in_buffer_empty(&self) {}
}

/// COM1. What the guest writes goes to a [`Console`]; what [`SerialPort::receive`] takes waits in the
/// 64-byte FIFO until the guest reads it.
pub struct SerialPort {
    uart: Serial<Line, Arc<UartMetrics>, Console>,
    /// Called once when the FIFO has room again.
    on_room: Option<Box<dyn FnOnce() + Send>>,
    /// None where each write comes by itself.
    gathering: Option<Gathering>,
}

impl SerialPort {
    /// `interrupt` is signalled to raise [`LINE`]; what happens is counted in `metrics`.
    pub fn new(interrupt: EventFd, console: Console, metrics: Arc<UartMetrics>) -> Self {
        Self { uart: Serial::with_events(Line(interrupt), metrics, console), on_room: None, gathering: None }
    }

    /// From now on the guest's output may wait in a ring, as `gathering` has it.
    pub fn gather(&mut self, gathering: Gathering) {
        self.gathering = Some(gathering);
    }

    /// See [`Gathering::timer`].
    pub fn timer(&self) -> Option<RawFd> {
        self.gathering.as_ref().map(Gathering::timer)
    }

    /// Where the guest's output goes.
    pub fn console(&mut self) -> &mut Console {
        self.uart.writer_mut()
    }
}

impl InputPort for Mutex<SerialPort> {
    fn room_or(&self, resume: Box<dyn FnOnce() + Send>) -> usize {
        let mut port = lock(self);
        let room = port.uart.fifo_capacity();
        if room == 0 {
            port.on_room = Some(resume);
        }
        room
    }

    fn receive(&self, input: &[u8]) {
        // Fails only when nothing fits.
        let _ = lock(self).uart.enqueue_raw_bytes(input);
    }
}

/// Fetches what the guest wrote and this port has not got yet, when the timer of its [`Gathering`] has rung;
/// `catch_up` hands it over, and tells whether there was anything.
pub fn fetch(port: &Mutex<SerialPort>, catch_up: impl Fn() -> bool) {
    if let Some(gathering) = &mut lock(port).gathering {
        gathering.timer_rang();
    }
    let found = catch_up();
    let mut port = lock(port);
    let waiting = port.uart.state().interrupt_enable & TRANSMITTER_INTERRUPT != 0;
    let over = port.gathering.as_mut().is_some_and(|gathering| gathering.looked(found, waiting));
    drop(port);
    if over {
        // What came before KVM heard of the end.
        catch_up();
    }
}

/// Locks the port; a thread that panicked with the lock held has left it usable.
pub fn lock(port: &Mutex<SerialPort>) -> MutexGuard<'_, SerialPort> {
    port.lock().unwrap_or_else(PoisonError::into_inner)
}

impl BusDevice for SerialPort {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        if let (Ok(offset), [value]) = (u8::try_from(offset), data) {
            *value = self.uart.read(offset);
            if offset == 0
                && self.uart.fifo_capacity() == FIFO
                && let Some(resume) = self.on_room.take()
            {
                resume();
            }
        } else {
            self.uart.events().missed_read_count.increment();
        }
        if let Some(gathering) = &mut self.gathering {
            gathering.accessed();
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        if let (Ok(register), &[value]) = (u8::try_from(offset), data) {
            // The console never fails; an interrupt that cannot be signalled is one that is pending.
            let _ = self.uart.write(register, value);
            if offset == INTERRUPT_ENABLE {
                self.console().flush_partial();
            }
            if let Some(gathering) = &mut self.gathering {
                if offset == FIFO_CONTROL && value & FIFOS_ON != 0 {
                    gathering.fifos_on();
                }
                gathering.accessed();
            }
        } else {
            self.uart.events().missed_write_count.increment();
        }
        Effect::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port() -> Mutex<SerialPort> {
        let interrupt = EventFd::new(libc::EFD_NONBLOCK).unwrap();
        Mutex::new(SerialPort::new(interrupt, Console::to_nowhere(), Arc::default()))
    }

    fn nothing() -> Box<dyn FnOnce() + Send> {
        Box::new(|| ())
    }

    #[test]
    fn input_beyond_the_fifo_is_refused() {
        let port = port();
        port.receive(&[b'x'; 1000]);
        assert_eq!(port.room_or(nothing()), 0);
        let mut data = [0];
        lock(&port).read(0, &mut data);
        assert_eq!(data, [b'x']);
        assert_eq!(port.room_or(nothing()), 1);
    }

    #[test]
    fn output_reaches_the_console() {
        let port = port();
        let mut port = lock(&port);
        for byte in b"hello\n" {
            assert_eq!(port.write(0, &[*byte]), Effect::None);
        }
        assert_eq!(port.console().tail(), "hello\n");
    }

    #[test]
    fn every_width_at_every_register_is_harmless() {
        let port = port();
        let mut port = lock(&port);
        for offset in 0..PORTS {
            for width in [1, 2, 4, 8] {
                let mut data = vec![0xff; width];
                port.read(offset, &mut data);
                assert_eq!(port.write(offset, &data), Effect::None);
            }
        }
    }

    #[test]
    fn whoever_waits_for_room_is_told_once_when_the_fifo_is_empty() {
        let port = port();
        let calls = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let seen = calls.clone();
        port.receive(&[b'x'; FIFO]);
        let room = port.room_or(Box::new(move || {
            seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }));
        assert_eq!(room, 0);
        for (reads, expected) in [(FIFO - 1, 0), (1, 1), (1, 1)] {
            (0..reads).for_each(|_| lock(&port).read(0, &mut [0]));
            assert_eq!(calls.load(std::sync::atomic::Ordering::SeqCst), expected);
        }
    }
}
