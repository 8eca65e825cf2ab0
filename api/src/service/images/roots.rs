//! Roots: the files of images, each kept once by what it was made from, however many names there are for it.
//!
//! A root is made under a name of its own, a draft, which goes with the last who waits for it. It gets its place by a
//! second name (a hard link) when an image is recorded. So whoever has a root keeps it, whatever is removed meanwhile,
//! and what a killed daemon leaves is a draft, or a root that no image has: both are swept at the next start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use bulkhead_image::build::BYTES;
use bulkhead_image::digest::Sha256;
use bulkhead_image::{BuildOptions, Cancellation};
use bulkhead_protocol::image::{Manifest, VERSION};
use tokio::sync::watch;

use super::board::{Board, ImportProgress};
use super::file;
use super::origin::{Failure, Origin};
use crate::host::disk::{self, Draft};
use crate::host::{HostError, layout};
use crate::service::{Wanted, lock};

/// What names the root of an OCI manifest: all that decides its bytes.
pub fn key(manifest: &str, options: &BuildOptions) -> String {
    let (format, time) = (options.format, options.build_time);
    let words =
        format!("manifest sha256:{manifest}\nversion {VERSION}.{BYTES}\nformat {format:?}\ntime {time}\n");
    hex::encode(Sha256::digest(words))
}

/// A whole root.
#[derive(Debug)]
pub struct Root {
    /// What is in it.
    pub manifest: Manifest,
    /// Its size in bytes.
    pub size: u64,
    draft: Draft,
}

impl Root {
    /// Makes a root in `draft`, which is not there yet. Blocks.
    pub fn make(origin: &Origin, draft: PathBuf, options: &BuildOptions) -> Result<Self, Failure> {
        let draft = Draft::new(draft);
        let (manifest, size) = origin.make(draft.path(), options)?;
        Ok(Self { manifest, size, draft })
    }

    /// The root that has its place already; none where there is none, or it is damaged.
    pub fn existing(place: &Path, draft: PathBuf) -> Option<Self> {
        let draft = Draft::new(draft);
        disk::link(place, draft.path()).ok()?;
        let manifest = file::read_known(draft.path())?;
        let size = std::fs::metadata(draft.path()).ok()?.len();
        Some(Self { manifest, size, draft })
    }

    /// Gives it its place, unless it has that already. One at a time.
    pub fn publish(&self, place: &Path) -> Result<(), HostError> {
        if file::read_known(place).is_some() {
            return Ok(());
        }
        layout::remove_file(place)?;
        disk::link(self.draft.path(), place)
    }
}

/// Roots that are being made.
#[derive(Debug, Default)]
pub struct Builds {
    under_way: Mutex<BTreeMap<String, Weak<Work>>>,
    made: Arc<AtomicU64>,
    /// How many threads make one.
    busy: watch::Sender<usize>,
}

impl Builds {
    /// How many are being made, also for nobody any more.
    pub fn busy(&self) -> watch::Receiver<usize> {
        self.busy.subscribe()
    }

    /// How many roots were made.
    pub fn count(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// Counts those that are made.
    pub fn counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.made)
    }

    /// What `make` makes, or what is being made under this key already. Without a key nobody shares it. It is
    /// cancelled when all who wait for it have gone.
    pub async fn share(
        &self,
        key: Option<&str>,
        progress: &ImportProgress,
        make: impl FnOnce(&Cancellation, &Arc<Board>) -> Result<Root, Failure> + Send + 'static,
    ) -> Result<Arc<Root>, Failure> {
        let work = match key {
            None => Arc::new(Work::begin(make, &self.busy)),
            Some(key) => {
                let mut under_way = lock(&self.under_way);
                under_way.retain(|_, work| work.strong_count() > 0);
                let known = under_way.get(key).and_then(Weak::upgrade);
                known.unwrap_or_else(|| {
                    let work = Arc::new(Work::begin(make, &self.busy));
                    under_way.insert(key.to_owned(), Arc::downgrade(&work));
                    work
                })
            }
        };
        // There is one build an import.
        let _ = progress.build.set(Arc::clone(&work.board));
        work.end().await
    }
}

/// A thread that makes a root.
#[derive(Debug)]
struct Busy(watch::Sender<usize>);

impl Busy {
    fn one_more(busy: &watch::Sender<usize>) -> Self {
        busy.send_modify(|count| *count += 1);
        Self(busy.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

type Outcome = Option<Result<Arc<Root>, Failure>>;

/// A root that is being made, for all who wait for it.
#[derive(Debug)]
struct Work {
    outcome: Arc<Mutex<Outcome>>,
    /// Closed when it has ended.
    end: watch::Receiver<()>,
    /// How far it is.
    board: Arc<Board>,
    _wanted: Wanted,
}

impl Work {
    fn begin(
        make: impl FnOnce(&Cancellation, &Arc<Board>) -> Result<Root, Failure> + Send + 'static,
        busy: &watch::Sender<usize>,
    ) -> Self {
        let wanted = Wanted::default();
        let (cancellation, busy) = (wanted.cancellation(), Busy::one_more(busy));
        let board = Arc::<Board>::default();
        let told = Arc::clone(&board);
        let (sender, end) = watch::channel(());
        let outcome = Arc::new(Mutex::new(None));
        let place = Arc::downgrade(&outcome);
        tokio::task::spawn_blocking(move || {
            let made = make(&cancellation, &told).map(Arc::new);
            // Where nobody waits any more it goes at once, and its draft with it.
            if let Some(place) = place.upgrade() {
                *lock(&place) = Some(made);
            }
            // From here on all of it is theirs who wait.
            drop(busy);
            drop(sender);
        });
        Self { outcome, end, board, _wanted: wanted }
    }

    async fn end(self: &Arc<Self>) -> Result<Arc<Root>, Failure> {
        let mut end = self.end.clone();
        while end.changed().await.is_ok() {}
        let outcome = lock(&self.outcome).clone();
        outcome.unwrap_or_else(|| Err(Failure::of("the source", "its build broke off")))
    }
}

#[cfg(test)]
#[path = "roots_tests.rs"]
mod tests;
