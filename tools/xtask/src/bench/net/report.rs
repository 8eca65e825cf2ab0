//! The figures, and how they are shown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::super::outcome::Outcome;
use super::super::table::lay_out;
use super::super::tally::Counts;
use super::load::Load;

/// System calls are shown of which there are so many a MiB or request.
const SHOWN: f64 = 0.05;

/// All figures of a bench.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// The lab's kernel.
    pub host: String,
    /// Whether the clock counts instructions: without that, rates are no figures.
    pub steady: bool,
    /// Bytes each way.
    pub bytes: u64,
    /// Requests.
    pub requests: u64,
    /// One for each VMM.
    pub results: Vec<Outcome<Vec<Figures>>>,
}

/// A load's figures.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figures {
    /// Which.
    pub load: Load,
    /// How many bytes or requests.
    pub count: u64,
    /// How long it took, by the lab's clock.
    pub ms: f64,
    /// What was counted meanwhile.
    pub counts: Counts,
}

impl Figures {
    /// How many MiB or requests.
    #[allow(clippy::cast_precision_loss, reason = "no bench has 2^53 of anything")]
    fn units(&self) -> f64 {
        let unit = if self.load == Load::Ask { 1.0 } else { f64::from(1 << 20) };
        self.count as f64 / unit
    }

    /// So much a MiB or request.
    #[allow(clippy::cast_precision_loss, reason = "no bench has 2^53 of anything")]
    fn each(&self, count: u64) -> f64 {
        count as f64 / self.units()
    }

    /// What is counted, a MiB or request: exits, those to user space, interrupts, system calls.
    pub fn counted(&self) -> [(&'static str, f64); 4] {
        let sum = |counts: &BTreeMap<String, u64>| self.each(counts.values().sum());
        [
            ("KVM exits", sum(&self.counts.exits)),
            ("exits to user space", sum(&self.counts.user_exits)),
            ("interrupts", sum(&self.counts.interrupts)),
            ("system calls", sum(&self.counts.by_call())),
        ]
    }
}

impl Report {
    /// The figures of a load, for the VMM of that name, if it has them.
    pub fn figures(&self, name: &str, load: Load) -> Option<&Figures> {
        let outcome = self.results.iter().find(|outcome| outcome.name == name)?;
        outcome.figures.as_ref().ok()?.iter().find(|figures| figures.load == load)
    }

    /// The table for people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for load in Load::ALL {
            let rows = self.rows(load);
            let rows: Vec<(&str, Vec<String>)> =
                rows.iter().map(|(label, cells)| (label.as_str(), cells.clone())).collect();
            text.push_str(&lay_out(&rows));
            text.push('\n');
        }
        for outcome in &self.results {
            let _ = writeln!(text, "{} ({})", outcome.name, outcome.version);
            if let Err(why) = &outcome.figures {
                let _ = writeln!(text, "  not measured: {why}");
            }
        }
        text
    }

    fn rows(&self, load: Load) -> Vec<(String, Vec<String>)> {
        let (what, unit) = match load {
            Load::Send => (format!("the guest sends {} MiB", self.bytes >> 20), "MiB"),
            Load::Receive => (format!("the guest receives {} MiB", self.bytes >> 20), "MiB"),
            Load::Ask => (format!("{} requests of 64 bytes", self.requests), "request"),
        };
        let row = |show: &dyn Fn(&Figures) -> String| -> Vec<String> {
            let cell = |name| self.figures(name, load).map_or("-".to_owned(), show);
            self.results.iter().map(|outcome| cell(&outcome.name)).collect()
        };
        let mut rows = vec![(what, self.results.iter().map(|outcome| outcome.name.clone()).collect())];
        if self.steady {
            let rate = |figures: &Figures| format!("{:.0}", figures.units() * 1000.0 / figures.ms);
            rows.push((format!("{unit}s a second"), row(&rate)));
        }
        let counted = Figures { load, count: 1, ms: 0.0, counts: Counts::default() }.counted();
        for (at, (name, _)) in counted.into_iter().enumerate() {
            let show = |figures: &Figures| {
                figures.counted().get(at).map_or(String::new(), |(_, each)| format!("{each:.2}"))
            };
            rows.push((format!("{name} a {unit}"), row(&show)));
        }
        let calls = |figures: &Figures| -> Vec<(String, f64)> {
            let sums = figures.counts.by_call().into_iter();
            sums.map(|(name, count)| (name, figures.each(count))).collect()
        };
        let all = self.results.iter().filter_map(|outcome| self.figures(&outcome.name, load)).flat_map(calls);
        let names: BTreeSet<String> = all.filter(|(_, each)| *each >= SHOWN).map(|(name, _)| name).collect();
        for name in names {
            let show = |figures: &Figures| {
                let each = calls(figures).into_iter().find(|(other, _)| *other == name);
                each.map_or("-".to_owned(), |(_, each)| format!("{each:.2}"))
            };
            rows.push((format!("  {name}"), row(&show)));
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_by_the_mib_or_the_request() {
        let figures = |load, count| Figures {
            load,
            count,
            ms: 500.0,
            counts: Counts {
                calls: [("io".to_owned(), [("readv".to_owned(), 30)].into())].into(),
                exits: [("123".to_owned(), 5), ("1024".to_owned(), 5)].into(),
                ..Counts::default()
            },
        };
        let loads = vec![figures(Load::Send, 4 << 20), figures(Load::Ask, 20)];
        let outcome =
            |name: &str, figures| Outcome { name: name.to_owned(), version: String::new(), figures };
        let mut report = Report {
            host: String::new(),
            steady: true,
            bytes: 4 << 20,
            requests: 20,
            results: vec![outcome("ours", Ok(loads)), outcome("theirs", Err("it ended".to_owned()))],
        };
        let table = report.table();
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        for line in [
            ["MiBs", "a", "second", "8", "-"],
            ["requests", "a", "second", "40", "-"],
            ["KVM exits", "a", "MiB", "2.50", "-"],
        ] {
            let line: Vec<&str> = line.iter().flat_map(|word| word.split(' ')).collect();
            assert!(lines.contains(&line), "{table}");
        }
        assert!(table.contains("readv") && table.contains("not measured: it ended"), "{table}");
        report.steady = false;
        assert!(!report.table().contains("second"));
    }
}
