//! AppArmor: one write names the profile of the program that this process is about to become.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};

/// Where it is written. The caller's /proc is the host's.
const PLACE: &str = "/proc/thread-self/attr/apparmor/exec";

/// What goes wrong with a profile.
#[derive(Debug, thiserror::Error)]
pub enum ApparmorError {
    /// The kernel has no AppArmor, or it is off.
    #[error("Cannot use process.apparmorProfile {0}: this kernel has no AppArmor")]
    Absent(String, #[source] io::Error),
    /// The kernel does not take the profile.
    #[error("Cannot use process.apparmorProfile {0}")]
    Refused(String, #[source] io::Error),
}

/// A profile that the next exec of this process takes on.
#[derive(Debug)]
pub struct Profile {
    name: String,
    place: File,
}

impl Profile {
    /// Opens the place, as long as it can be reached; no name or an empty one is no profile.
    pub fn open(name: Option<&str>) -> Result<Option<Self>, ApparmorError> {
        let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(None) };
        match OpenOptions::new().write(true).open(PLACE) {
            Ok(place) => Ok(Some(Self { name: name.to_owned(), place })),
            // What "unconfined" asks for is so already.
            Err(_) if name == "unconfined" => Ok(None),
            Err(error) => Err(ApparmorError::Absent(name.to_owned(), error)),
        }
    }

    /// Names the profile.
    pub fn take_on(mut self) -> Result<(), ApparmorError> {
        let text = format!("exec {}", self.name);
        self.place.write_all(text.as_bytes()).map_err(|error| ApparmorError::Refused(self.name, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_profile_needs_no_kernel() {
        assert!(Profile::open(None).unwrap().is_none());
        assert!(Profile::open(Some("")).unwrap().is_none());
    }
}
