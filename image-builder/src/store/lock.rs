//! Who may remove what others are about to use: nobody.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{Progress, Store, StoreError};
use crate::cancellation::Cancellation;

/// The file that is locked.
const LOCK: &str = "lock";

/// How long who waits for another's download sleeps before it looks again.
const PAUSE: Duration = Duration::from_millis(50);

/// How long another's download may bring nothing. Its own time-outs are shorter.
const PATIENCE: Duration = Duration::from_secs(300);

/// Nothing is removed from the store as long as this lives.
#[derive(Debug)]
pub struct Lease {
    _file: File,
}

impl Store {
    /// Holds off who would remove something. Waits for who removes right now, which takes a moment.
    pub fn lease(&self) -> Result<Lease, StoreError> {
        let file = self.root.open_or_create(LOCK).map_err(self.failed("open", LOCK))?;
        flock(&file, FlockOperation::LockShared).map_err(|error| self.failed("lock", LOCK)(error.into()))?;
        Ok(Lease { _file: file })
    }

    /// Holds off everybody; refuses where somebody is there.
    pub(super) fn close(&self) -> Result<Lease, StoreError> {
        let file = self.root.open_or_create(LOCK).map_err(self.failed("open", LOCK))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lease { _file: file }),
            Err(Errno::WOULDBLOCK) => Err(StoreError::InUse(self.path.clone())),
            Err(error) => Err(self.failed("lock", LOCK)(error.into())),
        }
    }
}

/// How waiting for a file's lock ended.
pub(super) enum Waited {
    /// It is ours.
    Locked,
    /// It is ours, and the file has no name any more.
    Gone,
    /// The work shall end.
    Cancelled,
    /// Who has it brings nothing.
    Stuck(Duration),
}

/// Waits until a partial file is ours, as long as whoever has it brings something.
pub(super) fn wait(
    file: &File,
    digest: &str,
    progress: &dyn Progress,
    cancellation: &Cancellation,
) -> io::Result<Waited> {
    let (mut size, mut since) = (file.metadata()?.len(), Instant::now());
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if file.metadata()?.nlink() == 0 => return Ok(Waited::Gone),
            Ok(()) => return Ok(Waited::Locked),
            Err(Errno::WOULDBLOCK) => {}
            Err(error) => return Err(error.into()),
        }
        if cancellation.is_cancelled() {
            return Ok(Waited::Cancelled);
        }
        let now = file.metadata()?.len();
        if now != size {
            progress.advance(digest, now.saturating_sub(size));
            (size, since) = (now, Instant::now());
        }
        if since.elapsed() > PATIENCE {
            return Ok(Waited::Stuck(PATIENCE));
        }
        thread::sleep(PAUSE);
    }
}
