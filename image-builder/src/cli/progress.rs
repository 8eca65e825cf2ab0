//! Bars of what comes and goes, on a terminal alone.

use std::collections::HashMap;
use std::sync::Mutex;

use bulkhead_image::store::{Outcome, Progress};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// How many digits of a digest tell blobs apart.
const DIGITS: usize = 12;

/// The look of a bar.
const STYLE: &str = "{prefix} {bar:30} {bytes:>11}/{total_bytes:11} {msg}";

/// A bar a blob, on standard error where that is a terminal; nothing where it is not.
#[derive(Debug, Default)]
pub struct Bars {
    bars: MultiProgress,
    by_digest: Mutex<HashMap<String, ProgressBar>>,
}

impl Bars {
    fn with(&self, digest: &str, tell: impl FnOnce(&ProgressBar)) {
        // A bar is never half made: whoever panicked with the lock held, the bars can be shown.
        let by_digest = self.by_digest.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(bar) = by_digest.get(digest) {
            tell(bar);
        }
    }
}

impl Progress for Bars {
    fn begin(&self, digest: &str, size: u64, there: u64) {
        let bar = self.bars.add(ProgressBar::new(size));
        // A template that cannot be read would be the default one.
        if let Ok(style) = ProgressStyle::with_template(STYLE) {
            bar.set_style(style);
        }
        bar.set_prefix(digest.get(..DIGITS).unwrap_or(digest).to_owned());
        bar.set_position(there);
        self.by_digest.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(digest.to_owned(), bar);
    }

    fn advance(&self, digest: &str, bytes: u64) {
        self.with(digest, |bar| bar.inc(bytes));
    }

    fn restart(&self, digest: &str) {
        self.with(digest, |bar| bar.set_position(0));
    }

    fn end(&self, digest: &str, outcome: Outcome) {
        let word = match outcome {
            Outcome::Present => "was there",
            Outcome::Shared => "came to another at the same time",
            Outcome::Transferred => "done",
        };
        self.with(digest, |bar| bar.finish_with_message(word));
    }
}
