//! The device's status and features as the driver may move them (virtio 1.2 sections 2.1, 2.2 and 3.1).

use crate::virtio::features::VERSION_1;

/// Bits of the status register.
pub mod status {
    /// The guest has seen the device.
    pub const ACKNOWLEDGE: u32 = 1;
    /// It knows how to drive it.
    pub const DRIVER: u32 = 2;
    /// It is set up and may run.
    pub const DRIVER_OK: u32 = 4;
    /// The features are settled.
    pub const FEATURES_OK: u32 = 8;
    /// The device gave up until it is reset.
    pub const NEEDS_RESET: u32 = 0x40;
    /// The guest gave up on the device.
    pub const FAILED: u32 = 0x80;
}

/// What a write to the status register asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing, or something illegal: ignored.
    None,
    /// Start over.
    Reset,
    /// Start to serve the queues.
    Activate,
}

/// How far driver and device have come. Plain data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Negotiation {
    status: u32,
    device_select: u32,
    driver_select: u32,
    accepted: u64,
}

impl Negotiation {
    /// The status, without what the device adds.
    pub fn status(&self) -> u32 {
        self.status
    }

    /// The features that the driver accepted.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Whether features may be written.
    pub fn takes_features(&self) -> bool {
        self.status == status::ACKNOWLEDGE | status::DRIVER
    }

    /// Whether queues may be set up.
    pub fn takes_queues(&self) -> bool {
        self.status == status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK
    }

    /// Whether the driver has come far enough to write configuration.
    pub fn takes_config(&self) -> bool {
        self.status & status::DRIVER != 0 && self.status & status::FAILED == 0
    }

    /// Moves the status as the driver wrote it. Bits are only ever added, one step after the other, and
    /// `FEATURES_OK` stays off when the driver accepts what is not `offered` or is a legacy one.
    pub fn write_status(&mut self, value: u32, offered: u64) -> Step {
        use status::{ACKNOWLEDGE, DRIVER, DRIVER_OK, FAILED, FEATURES_OK, NEEDS_RESET};
        if value == 0 {
            return Step::Reset;
        }
        // A driver that adds a bit to what it read gives this one back.
        let value = value & !NEEDS_RESET;
        if value & self.status != self.status || self.status & FAILED != 0 {
            return Step::None;
        }
        let step = match value & !self.status {
            ACKNOWLEDGE => true,
            // Drivers that know the device beforehand take two steps at once.
            added if added == ACKNOWLEDGE | DRIVER => true,
            DRIVER => self.status == ACKNOWLEDGE,
            FEATURES_OK => self.takes_features() && self.acceptable(offered),
            DRIVER_OK => self.takes_queues(),
            FAILED => true,
            _ => false,
        };
        if !step {
            return Step::None;
        }
        let activate = value & !self.status == DRIVER_OK;
        self.status = value;
        if activate { Step::Activate } else { Step::None }
    }

    /// Selects which half of the offered features is read.
    pub fn select_offered(&mut self, half: u32) {
        self.device_select = half;
    }

    /// Selects which half of the accepted features is written.
    pub fn select_accepted(&mut self, half: u32) {
        self.driver_select = half;
    }

    /// The selected half of `offered`.
    pub fn offered_half(&self, offered: u64) -> u32 {
        match self.device_select {
            // The casts take the halves apart.
            0 => offered as u32,
            1 => (offered >> 32) as u32,
            _ => 0,
        }
    }

    /// Takes the selected half of the accepted features, while that is allowed.
    pub fn accept_half(&mut self, half: u32) {
        if !self.takes_features() {
            return;
        }
        let half = u64::from(half);
        match self.driver_select {
            0 => self.accepted = self.accepted & !0xffff_ffff | half,
            1 => self.accepted = self.accepted & 0xffff_ffff | half << 32,
            _ => {}
        }
    }

    fn acceptable(&self, offered: u64) -> bool {
        self.accepted & !offered == 0 && self.accepted & VERSION_1 != 0
    }
}

#[cfg(test)]
#[path = "negotiation_tests.rs"]
mod tests;
