//! The figures, and how they are shown.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::super::outcome::{Outcome, cells};
use super::super::table::lay_out;

/// All figures of a bench.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// The lab's kernel.
    pub host: String,
    /// One for each runtime.
    pub results: Vec<Outcome<Figures>>,
}

/// What a run of `/bin/true` takes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figures {
    /// Milliseconds from before the fork to the end of the runtime: the first run, with cold caches, then each other.
    pub runs_ms: Vec<f64>,
    /// System calls by name, of the runtime and everything that it starts.
    pub calls: BTreeMap<String, u64>,
}

impl Figures {
    /// The middle one of the runs after the first.
    pub fn median_ms(&self) -> f64 {
        let mut rest: Vec<f64> = self.runs_ms.iter().skip(1).copied().collect();
        rest.sort_by(f64::total_cmp);
        rest.get(rest.len() / 2).copied().unwrap_or(f64::INFINITY)
    }

    /// All system calls.
    pub fn all_calls(&self) -> u64 {
        self.calls.values().sum()
    }

    /// Processes and threads that were made.
    pub fn clones(&self) -> u64 {
        ["clone", "clone3", "fork", "vfork"].iter().filter_map(|name| self.calls.get(*name)).sum()
    }
}

impl Report {
    /// The table for people.
    pub fn table(&self) -> String {
        let cells = |show| cells(&self.results, show);
        let first =
            |figures: &Figures| figures.runs_ms.first().map_or_else(String::new, |ms| format!("{ms:.1}"));
        let rows = [
            ("run of /bin/true", self.results.iter().map(|outcome| outcome.name.clone()).collect()),
            ("ms, first", cells(first)),
            ("ms, then (median)", cells(|figures| format!("{:.1}", figures.median_ms()))),
            ("system calls", cells(|figures| figures.all_calls().to_string())),
            ("clones", cells(|figures| figures.clones().to_string())),
        ];
        let mut text = lay_out(&rows);
        for outcome in &self.results {
            let _ = writeln!(text, "{} ({})", outcome.name, outcome.version);
            let figures = match &outcome.figures {
                Ok(figures) => figures,
                Err(why) => {
                    let _ = writeln!(text, "  not measured: {why}");
                    continue;
                }
            };
            let mut calls: Vec<(&String, &u64)> = figures.calls.iter().collect();
            calls.sort_by(|one, other| other.1.cmp(one.1).then(one.0.cmp(other.0)));
            let calls: Vec<String> = calls.iter().map(|(name, count)| format!("{name} {count}")).collect();
            let _ = writeln!(text, "  {}", calls.join(", "));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_shows_what_was_measured_and_what_not() {
        let calls = [("read".to_owned(), 7), ("clone".to_owned(), 1), ("vfork".to_owned(), 2)].into();
        let figures = Figures { runs_ms: vec![90.0, 31.0, 33.0, 32.0], calls };
        assert_eq!((figures.clones(), figures.all_calls()), (3, 10));
        let outcome =
            |name: &str, figures| Outcome { name: name.to_owned(), version: "1".to_owned(), figures };
        let results = vec![outcome("ours", Ok(figures)), outcome("theirs", Err("it ended".to_owned()))];
        let table = Report { host: String::new(), results }.table();
        for wanted in ["90.0", "32.0", "read 7, vfork 2", "not measured: it ended"] {
            assert!(table.contains(wanted), "{table}");
        }
    }
}
