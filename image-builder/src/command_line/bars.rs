//! Bars of what comes, goes and is made, on a terminal alone.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::progress::{Outcome, Progress};

/// How many digits of a digest tell blobs apart.
const DIGITS: usize = 12;

/// The look of a bar.
const STYLE: &str = "{prefix:12} {bar:30} {bytes:>11}/{total_bytes:11} {msg}";

/// A bar a blob, on standard error where that is a terminal; nothing where it is not.
#[derive(Debug, Default)]
pub struct Bars {
    bars: MultiProgress,
    by_name: Mutex<HashMap<String, ProgressBar>>,
}

impl Bars {
    fn with(&self, name: &str, tell: impl FnOnce(&ProgressBar)) {
        // A bar is never half made: whoever panicked with the lock held, the bars can be shown.
        let by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = by_name.get(name) {
            tell(bar);
        }
    }

    /// Something of `size` bytes is that far, in bytes. It begins where it has not.
    pub fn show(&self, name: &str, size: u64, there: u64) {
        if !self.by_name.lock().unwrap_or_else(PoisonError::into_inner).contains_key(name) {
            self.begin(name, size, there);
        }
        self.with(name, |bar| bar.set_position(there));
    }
}

impl Progress for Bars {
    fn begin(&self, name: &str, size: u64, there: u64) {
        let bar = self.bars.add(ProgressBar::new(size));
        // A template that cannot be read would be the default one.
        if let Ok(style) = ProgressStyle::with_template(STYLE) {
            bar.set_style(style);
        }
        bar.set_prefix(name.get(..DIGITS).unwrap_or(name).to_owned());
        bar.set_position(there);
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), bar);
    }

    fn advance(&self, name: &str, bytes: u64) {
        self.with(name, |bar| bar.inc(bytes));
    }

    fn restart(&self, name: &str) {
        self.with(name, |bar| bar.set_position(0));
    }

    fn end(&self, name: &str, outcome: Outcome) {
        let word = match outcome {
            Outcome::Present => "was there",
            Outcome::Shared => "came to another at the same time",
            Outcome::Transferred => "done",
        };
        self.with(name, |bar| bar.finish_with_message(word));
    }
}
