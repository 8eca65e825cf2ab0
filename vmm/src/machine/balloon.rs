//! What may be asked of a machine's balloon.

use super::builder::Machine;
use super::controller::{ControlError, Controller};
use crate::config::{Balloon, no_balloon};
use crate::virtio::balloon::{BalloonHandle, BalloonStatistics, HintingStatus};

impl Controller {
    /// The balloon as it shall be.
    pub fn balloon(&self) -> Result<Balloon, ControlError> {
        Ok(self.spec().balloon.ok_or_else(no_balloon)?)
    }

    /// Makes the balloon `amount_mib` MiB large.
    pub fn set_balloon_amount(&self, amount_mib: u32) -> Result<(), ControlError> {
        self.change(|spec, machine| {
            spec.set_balloon_amount(amount_mib)?;
            let asked =
                machine.and_then(|machine| machine.handles().balloon.as_ref()).zip(spec.balloon.as_ref());
            if let Some((handle, balloon)) = asked {
                handle.set_target(balloon.target_pages());
            }
            Ok(())
        })
    }

    /// Asks for statistics every so many seconds.
    pub fn set_balloon_interval(&self, seconds: u16) -> Result<(), ControlError> {
        self.change(|spec, machine| {
            spec.set_balloon_interval(seconds, machine.is_some())?;
            if let Some(handle) = machine.and_then(|machine| machine.handles().balloon.as_ref()) {
                handle.set_interval(seconds);
            }
            Ok(())
        })
    }

    /// What the guest told of its memory.
    pub fn balloon_statistics(&self) -> Result<BalloonStatistics, ControlError> {
        self.change_running(|_, machine| Ok(handle(machine)?.statistics()?))
    }

    /// Asks the guest for its free pages.
    pub fn start_hinting(&self, acknowledge: bool) -> Result<(), ControlError> {
        self.change_running(|_, machine| Ok(handle(machine)?.start_hinting(acknowledge)?))
    }

    /// Lets the guest use them again.
    pub fn stop_hinting(&self) -> Result<(), ControlError> {
        self.change_running(|_, machine| Ok(handle(machine)?.stop_hinting()?))
    }

    /// How far that is.
    pub fn hinting_status(&self) -> Result<HintingStatus, ControlError> {
        self.change_running(|_, machine| Ok(handle(machine)?.hinting_status()?))
    }
}

fn handle(machine: &Machine) -> Result<&BalloonHandle, ControlError> {
    Ok(machine.handles().balloon.as_ref().ok_or_else(no_balloon)?)
}
