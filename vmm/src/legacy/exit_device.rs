//! The exit device: a guest's own status, one byte on [`bulkhead_protocol::exit::PORT`].

use crate::bus::{BusDevice, Effect};

/// Write-only, without state.
pub struct ExitDevice;

impl BusDevice for ExitDevice {
    fn read(&mut self, _offset: u64, _data: &mut [u8]) {}

    fn write(&mut self, _offset: u64, data: &[u8]) -> Effect {
        data.first().map_or(Effect::None, |status| Effect::GuestStatus(*status))
    }
}
