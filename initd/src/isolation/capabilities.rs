//! The five capability sets of a container's process (`capabilities(7)`).

use std::io;

use bulkhead_protocol::oci::{CAPABILITIES as NAMES, Capabilities};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

/// What goes wrong with capabilities.
#[derive(Debug, thiserror::Error)]
pub enum CapabilityError {
    /// No capability has that name.
    #[error("process.capabilities names {0}, and there is no such capability")]
    Unknown(String),
    /// The bounding set could not be lowered.
    #[error("Cannot drop capability {0} from the bounding set")]
    Bound(u32, #[source] io::Error),
    /// The permitted, effective and inheritable sets were refused.
    #[error("Cannot set the capabilities")]
    Set(#[source] io::Error),
    /// A capability could not become ambient.
    #[error("Cannot raise the ambient capability {0}; it must be permitted and inheritable")]
    Ambient(u32, #[source] io::Error),
}

/// The five sets, a bit a capability.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sets {
    /// What the process and its children can ever have.
    pub bounding: u64,
    /// What counts.
    pub effective: u64,
    /// What survives an exec of a file that has it too.
    pub inheritable: u64,
    /// What may be made effective.
    pub permitted: u64,
    /// What survives any exec.
    pub ambient: u64,
}

impl Sets {
    /// Reads the names; nothing at all is no capability at all.
    pub fn parse(capabilities: Option<&Capabilities>) -> Result<Self, CapabilityError> {
        let Some(names) = capabilities else { return Ok(Self::default()) };
        Ok(Self {
            bounding: bits(&names.bounding)?,
            effective: bits(&names.effective)?,
            inheritable: bits(&names.inheritable)?,
            permitted: bits(&names.permitted)?,
            ambient: bits(&names.ambient)?,
        })
    }

    /// Lowers the bounding set of the calling thread. Needs `CAP_SETPCAP`, so it comes before [`Self::set`].
    pub fn bound(&self) -> Result<(), CapabilityError> {
        for number in 0..u64::BITS {
            let bit = 1 << number;
            if self.bounding & bit != 0 {
                continue;
            }
            let set = CapabilitySet::from_bits_retain(bit);
            match rustix::thread::remove_capability_from_bounding_set(set) {
                Ok(()) => {}
                // Beyond the kernel's last capability.
                Err(Errno::INVAL) => break,
                Err(error) => return Err(CapabilityError::Bound(number, error.into())),
            }
        }
        Ok(())
    }

    /// Sets the other four of the calling thread.
    pub fn set(&self) -> Result<(), CapabilityError> {
        let sets = CapabilitySets {
            effective: CapabilitySet::from_bits_retain(self.effective),
            permitted: CapabilitySet::from_bits_retain(self.permitted),
            inheritable: CapabilitySet::from_bits_retain(self.inheritable),
        };
        rustix::thread::set_capabilities(None, sets).map_err(|error| CapabilityError::Set(error.into()))?;
        let ambient = self.possible_ambient();
        for number in (0..u64::BITS).filter(|number| ambient & (1 << number) != 0) {
            let set = CapabilitySet::from_bits_retain(1 << number);
            rustix::thread::configure_capability_in_ambient_set(set, true)
                .map_err(|error| CapabilityError::Ambient(number, error.into()))?;
        }
        Ok(())
    }

    /// Those that the kernel lets be ambient. What was asked for beyond cannot be granted, and that stops nothing
    /// (`config.md`, "Linux Process"): runc's own example asks for it.
    fn possible_ambient(&self) -> u64 {
        self.ambient & self.permitted & self.inheritable
    }

    /// Whether the bounding set has this capability.
    pub fn may(&self, name: &str) -> bool {
        bit(name).is_ok_and(|bit| self.bounding & bit != 0)
    }
}

/// Takes the names out that stand for nothing; returns them (`config.md`, "Linux Process", `capabilities`).
pub fn take_unknown(capabilities: &mut Capabilities) -> Vec<String> {
    let mut unknown = Vec::new();
    for names in [
        &mut capabilities.bounding,
        &mut capabilities.effective,
        &mut capabilities.inheritable,
        &mut capabilities.permitted,
        &mut capabilities.ambient,
    ] {
        unknown.extend(names.extract_if(.., |name| bit(name).is_err()));
    }
    unknown.sort();
    unknown.dedup();
    unknown
}

/// The names of all capabilities that are known.
pub fn names() -> impl Iterator<Item = String> {
    NAMES.iter().map(|name| format!("CAP_{name}"))
}

/// Makes effective for the calling thread what it may have.
pub fn raise() -> Result<(), CapabilityError> {
    let failed = |error: Errno| CapabilityError::Set(error.into());
    let sets = rustix::thread::capabilities(None).map_err(failed)?;
    let sets = CapabilitySets { effective: sets.permitted, ..sets };
    rustix::thread::set_capabilities(None, sets).map_err(failed)
}

fn bits(names: &[String]) -> Result<u64, CapabilityError> {
    names.iter().try_fold(0, |bits, name| Ok(bits | bit(name)?))
}

fn bit(name: &str) -> Result<u64, CapabilityError> {
    let bare = name.strip_prefix("CAP_");
    let number = NAMES.iter().position(|known| Some(*known) == bare);
    number.map(|number| 1 << number).ok_or_else(|| CapabilityError::Unknown(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_bits() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(bits(&names(&["CAP_CHOWN", "CAP_KILL"])).unwrap(), 0b10_0001);
        assert_eq!(bits(&names(&["CAP_CHECKPOINT_RESTORE"])).unwrap(), 1 << 40);
        assert!(matches!(bits(&names(&["CHOWN"])), Err(CapabilityError::Unknown(_))));
        assert!(matches!(bits(&names(&["CAP_FLY"])), Err(CapabilityError::Unknown(_))));
    }

    #[test]
    fn what_cannot_be_ambient_is_left_out() {
        let sets = Sets { ambient: 7, permitted: 6, inheritable: 3, ..Sets::default() };
        assert_eq!(sets.possible_ambient(), 2);
    }

    #[test]
    fn nothing_said_is_nothing_allowed() {
        assert_eq!(Sets::parse(None).unwrap(), Sets::default());
        let some = Capabilities { bounding: vec!["CAP_SYS_ADMIN".into()], ..Capabilities::default() };
        let sets = Sets::parse(Some(&some)).unwrap();
        assert!(sets.may("CAP_SYS_ADMIN") && !sets.may("CAP_BPF"));
        assert_eq!((sets.inheritable, sets.ambient), (0, 0));
    }
}
