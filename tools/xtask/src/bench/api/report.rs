//! The figures, and how they are shown.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::super::outcome::Outcome;
use super::super::table::lay_out;
use super::client::HTTP;

/// All figures of a bench.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// The lab's kernel.
    pub host: String,
    /// One for each VMM.
    pub results: Vec<Outcome<ByRequest>>,
}

/// A VMM's figures by request.
pub type ByRequest = BTreeMap<String, Figures>;

/// What requests of a kind cost.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figures {
    /// How many are answered a second, one after the other.
    pub per_second: f64,
    /// System calls a request by name, of all threads.
    pub calls: BTreeMap<String, f64>,
}

impl Figures {
    /// All system calls a request.
    pub fn all_calls(&self) -> f64 {
        self.calls.values().sum()
    }
}

impl Report {
    /// What a VMM's requests of a kind cost.
    pub fn figures(&self, name: &str, question: &str) -> Option<&Figures> {
        let outcome = self.results.iter().find(|outcome| outcome.name == name)?;
        outcome.figures.as_ref().ok()?.get(question)
    }

    /// The table for people.
    pub fn table(&self) -> String {
        let mut rows: Vec<(String, Vec<String>)> =
            vec![(String::new(), self.results.iter().map(|outcome| outcome.name.clone()).collect())];
        for question in HTTP {
            let cells = |show: fn(&Figures) -> String| {
                let of = |outcome: &Outcome<ByRequest>| self.figures(&outcome.name, question.name).map(show);
                self.results.iter().map(|outcome| of(outcome).unwrap_or_else(|| "-".to_owned())).collect()
            };
            rows.push((
                format!("{}: a second", question.name),
                cells(|one| format!("{:.0}", one.per_second)),
            ));
            rows.push(("  system calls each".to_owned(), cells(|one| format!("{:.2}", one.all_calls()))));
        }
        let rows: Vec<(&str, Vec<String>)> =
            rows.iter().map(|(label, cells)| (label.as_str(), cells.clone())).collect();
        let mut text = lay_out(&rows);
        for outcome in &self.results {
            let _ = writeln!(text, "{} ({})", outcome.name, outcome.version);
            let Ok(figures) = &outcome.figures else {
                let why = outcome.figures.as_ref().err().map_or("", String::as_str);
                let _ = writeln!(text, "  not measured: {why}");
                continue;
            };
            for (question, one) in figures {
                let calls: Vec<String> =
                    one.calls.iter().map(|(name, count)| format!("{name} {count:.2}")).collect();
                let _ = writeln!(text, "  {question}: {}", calls.join(", "));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_shows_what_was_measured_and_what_not() {
        let calls = [("read".to_owned(), 1.0), ("write".to_owned(), 1.5)].into();
        let figures = [("GET /".to_owned(), Figures { per_second: 1234.4, calls })].into();
        let outcome =
            |name: &str, figures| Outcome { name: name.to_owned(), version: "1".to_owned(), figures };
        let results = vec![outcome("ours", Ok(figures)), outcome("theirs", Err("it ended".to_owned()))];
        let table = Report { host: String::new(), results }.table();
        for wanted in ["1234", "2.50", "read 1.00, write 1.50", "not measured: it ended"] {
            assert!(table.contains(wanted), "{table}");
        }
    }
}
