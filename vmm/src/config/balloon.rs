//! `balloon`: memory that the guest lends to the host.

use serde::{Deserialize, Serialize};

use super::{ConfigError, MachineSpec};

/// Pages of 4 KiB in a mebibyte; the device counts in them (virtio 1.2 section 5.5.6).
const PAGES_PER_MIB: u32 = 256;
/// The largest balloon, in MiB: its size in pages must fit 32 bits.
pub const MAX_AMOUNT: u32 = u32::MAX / PAGES_PER_MIB;

/// A balloon device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Balloon {
    /// How large it shall be, in MiB.
    pub amount_mib: u32,
    /// The guest may take memory back from it when it has no other left.
    pub deflate_on_oom: bool,
    /// How often the guest is asked for its statistics, in seconds; 0 leaves them out.
    #[serde(default)]
    pub stats_polling_interval_s: u16,
    /// The guest tells its free pages when it is asked to.
    #[serde(default)]
    pub free_page_hinting: bool,
    /// The guest tells its free pages all the time.
    #[serde(default)]
    pub free_page_reporting: bool,
}

impl Balloon {
    /// Checks it for a guest with `memory` MiB.
    pub(super) fn check(&self, memory: u64) -> Result<(), ConfigError> {
        let amount = self.amount_mib;
        let message = if amount > MAX_AMOUNT {
            format!("amount_mib is {amount}, more than {MAX_AMOUNT}")
        } else if u64::from(amount) > memory {
            format!("amount_mib is {amount}, and the guest has {memory} MiB of memory")
        } else {
            return Ok(());
        };
        Err(ConfigError::invalid("balloon", message))
    }

    /// The size it shall have, in pages of 4 KiB.
    pub fn target_pages(&self) -> u32 {
        self.amount_mib.saturating_mul(PAGES_PER_MIB)
    }
}

impl MachineSpec {
    /// Takes another balloon, which must not be larger than the guest's memory.
    pub fn set_balloon(&mut self, balloon: Balloon) -> Result<(), ConfigError> {
        balloon.check(self.machine_config.mem_size_mib)?;
        self.balloon = Some(balloon);
        Ok(())
    }

    /// Takes another size of the balloon, which must be less than the guest's memory.
    pub fn set_balloon_amount(&mut self, amount_mib: u32) -> Result<(), ConfigError> {
        let memory = self.machine_config.mem_size_mib;
        let balloon = self.balloon.as_mut().ok_or_else(no_balloon)?;
        Balloon { amount_mib, ..balloon.clone() }.check(memory)?;
        balloon.amount_mib = amount_mib;
        Ok(())
    }

    /// Takes another interval of the balloon's statistics, in seconds. Once the machine `runs` they can be
    /// neither switched on nor off: the driver has looked for their queue.
    pub fn set_balloon_interval(&mut self, seconds: u16, runs: bool) -> Result<(), ConfigError> {
        let balloon = self.balloon.as_mut().ok_or_else(no_balloon)?;
        if runs && (balloon.stats_polling_interval_s == 0) != (seconds == 0) {
            let message = "statistics cannot be enabled or disabled after the start";
            return Err(ConfigError::invalid("balloon", message));
        }
        balloon.stats_polling_interval_s = seconds;
        Ok(())
    }
}

/// What is said to those who ask for a balloon that is not there.
pub fn no_balloon() -> ConfigError {
    ConfigError::invalid("balloon", "the machine has no balloon")
}
