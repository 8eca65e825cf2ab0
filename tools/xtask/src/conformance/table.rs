//! The table in `initd/CONFORMANCE.md`: written from the suite's report, and read again.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{OURS, PEERS};

/// What is above the table.
const HEAD: &str = "# Conformance\n\n\
    Made by `cargo xtask conformance --write`; do not edit. Each line is a case of [tests/runtime](../tests/runtime), a\n\
    clause of the [OCI runtime specification](https://github.com/opencontainers/runtime-spec/tree/v1.2.1) 1.2, driven\n\
    only through the command line, in the lab: Debian 12's kernel 6.1, cgroup v2, crun and runc as Debian has them.\n\
    MUST and SHOULD are the specification's; CLI is what engines type beside it; SAFE is a published flaw of other\n\
    runtimes. Where both others fail a MUST, they and the specification differ.\n\n";

/// The runtimes in the order of the columns.
fn columns() -> Vec<&'static str> {
    [OURS].into_iter().chain(PEERS.map(|(name, _)| name)).collect()
}

/// One case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub case: String,
    level: String,
    clause: String,
    /// Whether it passes, by the runtime's name; who was not tried is not there.
    passes: BTreeMap<String, bool>,
}

impl Row {
    /// Whether a runtime passes; nothing if it was not tried.
    pub fn passes(&self, runtime: &str) -> Option<bool> {
        self.passes.get(runtime).copied()
    }

    /// Whether all others pass.
    pub fn peers_pass(&self) -> bool {
        PEERS.iter().all(|(name, _)| self.passes(name) == Some(true))
    }
}

/// All cases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    versions: BTreeMap<String, String>,
    pub rows: Vec<Row>,
}

impl Table {
    /// From what the suite reports.
    pub fn from_report(report: &Value) -> Result<Self> {
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let cases = report.get("cases").and_then(Value::as_array).context("The report has no cases")?;
        let rows = cases.iter().map(|case| {
            let results = case.get("results").and_then(Value::as_object).context("A case has no results")?;
            let passes = results.iter().map(|(name, result)| {
                (name.clone(), result.get("verdict").and_then(Value::as_str) == Some("pass"))
            });
            Ok(Row {
                case: text(case, "case").context("A case has no name")?,
                level: text(case, "level").context("A case has no level")?,
                clause: text(case, "clause").context("A case has no clause")?,
                passes: passes.collect(),
            })
        });
        let versions = report.get("runtimes").and_then(Value::as_object).context("No versions")?;
        let versions =
            versions.iter().map(|(name, said)| (name.clone(), said.as_str().unwrap_or("?").to_owned()));
        Ok(Self { versions: versions.collect(), rows: rows.collect::<Result<_>>()? })
    }

    /// From the file; what is no row of it is passed over.
    pub fn parse(text: &str) -> Self {
        let said = text.lines().find_map(|line| line.strip_prefix("| version | ")?.strip_suffix(" |"));
        let said = said.into_iter().flat_map(|said| columns().into_iter().zip(said.split(" | ")));
        let versions =
            said.filter(|(_, said)| *said != "–").map(|(name, said)| (name.to_owned(), said.to_owned()));
        let rows = text.lines().filter_map(|line| {
            let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
            let (clause, rest) = cells.split_first()?;
            let ([case, level], verdicts) = rest.split_at_checked(2)? else { return None };
            let case = case.strip_prefix('`')?.strip_suffix('`')?;
            let passes = columns().into_iter().zip(verdicts).filter_map(|(name, verdict)| match *verdict {
                "pass" => Some((name.to_owned(), true)),
                "**fail**" => Some((name.to_owned(), false)),
                _ => None,
            });
            let (case, level, clause) = (case.to_owned(), (*level).to_owned(), (*clause).to_owned());
            Some(Row { case, level, clause, passes: passes.collect() })
        });
        Self { versions: versions.collect(), rows: rows.collect() }
    }

    /// The file.
    pub fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        let names = columns();
        let header = |cells: Vec<String>| format!("| | {} |\n", cells.join(" | "));
        text.push_str(&header(names.iter().map(|name| (*name).to_owned()).collect()));
        text.push_str(&format!("|---|{}\n", "---|".repeat(names.len())));
        let said = |name: &&str| self.versions.get(*name).map_or("–", String::as_str).to_owned();
        let _ = writeln!(text, "| version | {} |", names.iter().map(said).collect::<Vec<_>>().join(" | "));
        for level in ["MUST", "SHOULD", "CLI", "SAFE"] {
            let mine: Vec<&Row> = self.rows.iter().filter(|row| row.level == level).collect();
            let passed = |name: &&str| match mine.iter().any(|row| row.passes(name).is_some()) {
                true => {
                    format!(
                        "{} of {}",
                        mine.iter().filter(|row| row.passes(name) == Some(true)).count(),
                        mine.len()
                    )
                }
                false => "–".to_owned(),
            };
            let cells: Vec<String> = names.iter().map(passed).collect();
            let _ = writeln!(text, "| {level} passed | {} |", cells.join(" | "));
        }
        let _ = writeln!(text, "\n| clause | case | level | {} |", names.join(" | "));
        let _ = writeln!(text, "|---|---|---|{}", "---|".repeat(names.len()));
        for row in &self.rows {
            let verdict = |name: &&str| match row.passes(name) {
                Some(true) => "pass",
                Some(false) => "**fail**",
                None => "–",
            };
            let verdicts: Vec<&str> = names.iter().map(verdict).collect();
            let _ = writeln!(
                text,
                "| {} | `{}` | {} | {} |",
                row.clause,
                row.case,
                row.level,
                verdicts.join(" | ")
            );
        }
        text
    }

    /// The same, with what another table says of runtimes that were not tried here.
    pub fn with_peers_of(&self, known: &Self) -> Self {
        let mut whole = self.clone();
        for row in &mut whole.rows {
            let Some(other) = known.rows.iter().find(|other| other.case == row.case) else { continue };
            for (name, passes) in &other.passes {
                row.passes.entry(name.clone()).or_insert(*passes);
            }
        }
        whole
    }

    /// Another table, with what this one says over it. Of a `whole` one every case is here.
    pub fn over(&self, known: &Self, whole: bool) -> Self {
        let mut table = self.with_peers_of(known);
        if !whole {
            let fresh = table.rows;
            table.rows = known.rows.clone();
            for row in fresh {
                match table.rows.iter_mut().find(|other| other.case == row.case) {
                    Some(other) => *other = row,
                    None => table.rows.push(row),
                }
            }
        }
        for (name, said) in &known.versions {
            table.versions.entry(name.clone()).or_insert_with(|| said.clone());
        }
        table
    }

    /// What another table says differently of the runtimes that were tried here.
    pub fn differences(&self, known: &Self, whole: bool) -> Vec<String> {
        let stale = "run `cargo xtask conformance --write`";
        let said = |passes: Option<bool>| match passes {
            Some(true) => "passes",
            Some(false) => "fails",
            None => "was not tried",
        };
        let mut differences = Vec::new();
        for row in &self.rows {
            let other = known.rows.iter().find(|other| other.case == row.case);
            for (name, passes) in &row.passes {
                let before = other.and_then(|other| other.passes(name));
                if before != Some(*passes) {
                    let (now, before) = (said(Some(*passes)), said(before));
                    differences.push(format!("{name} {now} {}; by the table it {before}: {stale}", row.case));
                }
            }
        }
        let gone =
            known.rows.iter().filter(|row| whole && !self.rows.iter().any(|mine| mine.case == row.case));
        differences.extend(gone.map(|row| format!("{} is in the table, and is no case: {stale}", row.case)));
        differences
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
