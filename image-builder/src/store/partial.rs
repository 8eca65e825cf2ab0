//! What has been fetched of something whose digest is known and which is not whole yet.

use std::fs::File;

use super::lock::{Waited, wait};
use super::{Lease, Progress, Store, StoreError};
use crate::cancellation::Cancelled;

/// Such a file. It is nobody else's as long as this lives, and whoever comes later finds what came so far.
#[derive(Debug)]
pub(crate) struct Partial {
    store: Store,
    digest: String,
    file: File,
    _lease: Lease,
}

impl Store {
    /// What an interrupted download of something with this digest left; an empty file where there was none. Waits for
    /// whoever else fetches it.
    pub(crate) fn partial(self, digest: &str, progress: &dyn Progress) -> Result<Partial, StoreError> {
        let lease = self.lease()?;
        let file = loop {
            if let Some(file) = self.claim(digest, progress)? {
                break file;
            }
        };
        Ok(Partial { store: self, digest: digest.to_owned(), file, _lease: lease })
    }

    /// Waits until the partial file of this digest is ours; none where it has lost its name in the meantime.
    pub(super) fn claim(&self, digest: &str, progress: &dyn Progress) -> Result<Option<File>, StoreError> {
        let file = self.partial.open_or_create(digest).map_err(self.failed("open", digest))?;
        let cancellation = &self.limits.cancellation;
        match wait(&file, digest, progress, cancellation).map_err(self.failed("lock", digest))? {
            Waited::Locked => Ok(Some(file)),
            Waited::Gone => Ok(None),
            Waited::Cancelled => Err(Cancelled.into()),
            Waited::Stuck(time) => Err(StoreError::Stuck(digest.to_owned(), time.as_secs())),
        }
    }
}

impl Partial {
    /// The file.
    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// The file, which has no name from here on: it is whole, or of no use.
    pub(crate) fn forget(&mut self) -> Result<(), StoreError> {
        self.store.partial.remove(&self.digest).map_err(self.store.failed("remove", &self.digest))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Nothing came: there is nothing to go on with. What cannot be removed is an empty file, which `gc` takes.
        if self.file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
            let _ = self.forget();
        }
    }
}
