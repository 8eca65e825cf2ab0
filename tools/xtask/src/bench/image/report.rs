//! The figures, and how they are shown.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::super::outcome::{Outcome, cells};
use super::super::table::lay_out;

/// All figures of a bench.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// The lab's kernel.
    pub host: String,
    /// One for each way.
    pub results: Vec<Outcome<Figures>>,
}

/// What one way to make a disk takes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Figures {
    /// Milliseconds of the clock, from before the first program to the end of the last.
    pub ms: f64,
    /// Milliseconds of a processor that all programs took, in them and in the kernel.
    pub processor_ms: f64,
    /// The largest resident memory of one program, in KiB.
    pub memory_kib: u64,
    /// Bytes that all programs read by system calls.
    pub read: u64,
    /// Bytes that they wrote by system calls.
    pub written: u64,
    /// Bytes that the disk takes, holes not counted.
    pub disk: u64,
}

impl Report {
    /// The table for people.
    pub fn table(&self) -> String {
        let cells = |show| cells(&self.results, show);
        let rows = [
            ("layers to a disk", self.results.iter().map(|outcome| outcome.name.clone()).collect()),
            ("ms", cells(|figures| format!("{:.0}", figures.ms))),
            ("processor's time, ms", cells(|figures| format!("{:.0}", figures.processor_ms))),
            ("peak memory, MiB", cells(|figures| (figures.memory_kib >> 10).to_string())),
            ("read, MiB", cells(|figures| (figures.read >> 20).to_string())),
            ("written, MiB", cells(|figures| (figures.written >> 20).to_string())),
            ("disk, MiB", cells(|figures| (figures.disk >> 20).to_string())),
        ];
        let mut text = lay_out(&rows);
        for outcome in &self.results {
            if let Err(why) = &outcome.figures {
                let _ = writeln!(text, "{} was not measured: {why}", outcome.name);
            }
        }
        text
    }
}
