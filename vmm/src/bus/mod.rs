//! Dispatch of port and memory-mapped I/O to devices.
//!
//! A device returns what should happen to the machine as an [`Effect`]; it never does it. The vCPU's run
//! loop carries it out.

mod dispatch;

pub use self::dispatch::{Bus, RangeTaken, SharedDevice};

/// What an access to a device asks of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing beyond the device.
    None,
    /// End the machine: the guest powered itself off.
    PowerOff,
    /// End the machine: the guest reset itself.
    Reset,
    /// Remember the guest's own exit status.
    GuestStatus(u8),
}

/// A device behind a range of ports or addresses.
///
/// The guest chooses `offset` (always within the range) and the length of `data` (1, 2, 4 or 8 bytes; other
/// lengths never reach a device). What a device does not implement reads as zero and ignores writes.
pub trait BusDevice: Send {
    /// Fills `data` with what the guest reads at `offset`. `data` comes zeroed.
    fn read(&mut self, offset: u64, data: &mut [u8]);

    /// Takes what the guest writes at `offset`.
    fn write(&mut self, offset: u64, data: &[u8]) -> Effect;
}
