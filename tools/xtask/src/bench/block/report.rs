//! The figures, and how they are shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::outcome::Outcome;
use super::super::table::lay_out;

/// All figures of a bench.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// The lab's kernel.
    pub host: String,
    /// Whether the clock counts instructions: without that, rates are no figures.
    pub steady: bool,
    /// One for each VMM and way of its.
    pub results: Vec<Outcome<BTreeMap<String, Figures>>>,
}

/// What a load cost, each a request; what fio's own start and end cost is taken off.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// How many requests there were.
    pub requests: u32,
    /// Requests a second, by fio's word.
    pub rate: f64,
    /// System calls of the threads that are no vCPU's.
    pub io_calls: f64,
    /// System calls of all threads, `KVM_RUN` apart.
    pub calls: f64,
    /// Exits.
    pub exits: f64,
    /// Exits to user space.
    pub user_exits: f64,
    /// Interrupts raised, the serial port's apart.
    pub interrupts: f64,
    /// The commonest system calls: thread, name, how often.
    pub commonest: Vec<(String, String, u64)>,
}

type Cell = (&'static str, fn(&Figures) -> f64);

/// The figures of a load, in rows.
const ROWS: [Cell; 6] = [
    ("requests a second", |figures| figures.rate),
    ("system calls of I/O threads", |figures| figures.io_calls),
    ("system calls of all threads", |figures| figures.calls),
    ("exits", |figures| figures.exits),
    ("exits to user space", |figures| figures.user_exits),
    ("interrupts", |figures| figures.interrupts),
];

impl Report {
    /// The table for people: for each load what a request cost.
    pub fn table(&self, loads: &[&str]) -> String {
        let names = self.results.iter().map(|outcome| outcome.name.clone()).collect();
        let mut rows: Vec<(&str, Vec<String>)> = vec![("", names)];
        for load in loads {
            rows.push((load, Vec::new()));
            for (label, of) in ROWS.iter().filter(|(label, _)| self.steady || !label.contains("a second")) {
                let show = |outcome: &Outcome<BTreeMap<String, Figures>>| {
                    let figures = outcome.figures.as_ref().ok().and_then(|figures| figures.get(*load));
                    figures.map_or_else(|| "-".to_owned(), |figures| number(of(figures)))
                };
                rows.push((label, self.results.iter().map(show).collect()));
            }
        }
        let mut text = lay_out(&rows);
        for outcome in &self.results {
            text.push_str(&format!("{}: {}\n", outcome.name, outcome.version));
            if let Err(why) = &outcome.figures {
                text.push_str(&format!("  not measured: {why}\n"));
            }
        }
        text
    }
}

fn number(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_column_a_vmm_and_says_who_failed() {
        let figures = Figures { rate: 7012.4, io_calls: 3.004, ..Figures::default() };
        let mut report = Report {
            host: String::new(),
            steady: true,
            results: vec![
                Outcome {
                    name: "ours".to_owned(),
                    version: "1".to_owned(),
                    figures: Ok([("load".to_owned(), figures)].into()),
                },
                Outcome {
                    name: "theirs".to_owned(),
                    version: "2".to_owned(),
                    figures: Err("it ended".to_owned()),
                },
            ],
        };
        let table = report.table(&["load"]);
        for wanted in ["7012", "3.00", "not measured: it ended"] {
            assert!(table.contains(wanted), "{table}");
        }
        report.steady = false;
        assert!(!report.table(&["load"]).contains("7012"));
    }
}
