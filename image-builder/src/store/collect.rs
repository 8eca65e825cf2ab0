//! Removes what nothing refers to.

use std::collections::HashSet;
use std::time::Duration;

use super::folder::Folder;
use super::{Store, StoreError};

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Collected {
    /// Blobs, whole and partial ones.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Store {
    /// Removes all blobs that no image has, and what interrupted pulls left. Refuses while somebody pulls or builds;
    /// a record that cannot be read keeps everything, since it may have referred to anything.
    pub fn collect(&self) -> Result<Collected, StoreError> {
        self.retain(|_| true, Duration::ZERO)
    }

    /// Forgets all references but those that `keep` is true for, then does as [`Self::collect`] does; what interrupted
    /// pulls left stays until nothing of it has come for `patience`.
    pub fn retain(&self, keep: impl Fn(&str) -> bool, patience: Duration) -> Result<Collected, StoreError> {
        let _lease = self.close()?;
        let mut kept = HashSet::new();
        for image in self.images()? {
            match keep(&image.reference) {
                true => kept.extend(image.blobs),
                false => self.forget_record(&image.reference)?,
            }
        }
        let mut collected = Collected::default();
        let (whole, unfinished) = self.blobs.names().map_err(self.failed("list", "blobs"))?;
        let unused = whole.into_iter().filter(|name| !kept.contains(name));
        self.sweep(&self.blobs, unused.chain(unfinished), &mut collected)?;
        let (partial, unfinished) = self.partial.names().map_err(self.failed("list", "partial"))?;
        let abandoned = partial.into_iter().filter(|name| self.is_older(name, patience));
        self.sweep(&self.partial, abandoned.chain(unfinished), &mut collected)?;
        let (_, unfinished) = self.references.names().map_err(self.failed("list", "references"))?;
        self.sweep(&self.references, unfinished.into_iter(), &mut collected)?;
        Ok(collected)
    }

    /// Whether nothing has come of a partial file for so long. One that cannot be looked at is old enough.
    fn is_older(&self, name: &str, patience: Duration) -> bool {
        let modified =
            self.partial.open(name).ok().flatten().and_then(|file| file.metadata().ok()?.modified().ok());
        modified.is_none_or(|modified| modified.elapsed().map_or(patience.is_zero(), |age| age >= patience))
    }

    fn sweep(
        &self,
        folder: &Folder,
        names: impl Iterator<Item = String>,
        collected: &mut Collected,
    ) -> Result<(), StoreError> {
        for name in names {
            // What is no regular file goes too, and counts as nothing.
            let file = folder.open(&name).ok().flatten();
            collected.bytes +=
                file.and_then(|file| file.metadata().ok()).map_or(0, |metadata| metadata.len());
            folder.remove(&name).map_err(self.failed("remove", &name))?;
            collected.blobs += 1;
        }
        Ok(())
    }
}
