//! The descriptors that are handed over to a container's process.

use std::fs::File;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::vec::IntoIter;

use super::StageError;
use super::config::{Config, MAX_CONFIG};
use crate::bounded;

/// What every process gets, and what its world has more.
pub struct Handed {
    /// Where it speaks with the one who made it.
    pub control: UnixStream,
    /// What it is to do.
    pub config: File,
    /// What else there is, in order.
    pub rest: Rest,
}

/// Descriptors that are taken one after the other.
pub struct Rest(IntoIter<OwnedFd>);

impl Handed {
    /// Takes the descriptors over. `numbers` has a comma between two.
    pub fn take(numbers: &str) -> Option<Self> {
        let numbers: Vec<i32> =
            numbers.split(',').map(|number| number.parse().ok()).collect::<Option<_>>()?;
        let distinct = (1..numbers.len()).all(|index| !numbers[..index].contains(&numbers[index]));
        if numbers.len() < 2 || !distinct || numbers.iter().any(|number| *number < 3) {
            return None;
        }
        let taken = numbers.into_iter().map(|number| {
            // SAFETY: who made this process opened these for us and told each number once (checked above);
            // nothing else in this process, which has just begun, owns them. A wrong number gives errors,
            // not unsoundness: every use is a system call.
            let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
            // What is handed over is for this program alone.
            let _ = rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC);
            descriptor
        });
        let mut taken = taken.collect::<Vec<_>>().into_iter();
        Some(Self { control: taken.next()?.into(), config: taken.next()?.into(), rest: Rest(taken) })
    }
}

impl Rest {
    /// The next one.
    pub fn next(&mut self) -> Result<OwnedFd, StageError> {
        Ok(self.0.next().ok_or("a descriptor is missing")?)
    }

    /// The next one, where the configuration says that there is one.
    pub fn next_if(&mut self, there: bool) -> Result<Option<OwnedFd>, StageError> {
        there.then(|| self.next()).transpose()
    }

    /// All that are left.
    pub fn all(self) -> Vec<OwnedFd> {
        self.0.collect()
    }
}

/// Reads what the process is to do.
pub fn read(config: File) -> Result<Config, StageError> {
    Ok(serde_json::from_slice(&bounded::read(config, MAX_CONFIG)?)?)
}
