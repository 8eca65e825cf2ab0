//! What bulkhead-oci fails although both others pass it, with the reasons: at most five.

use anyhow::{Context, Result};

use super::OURS;
use super::table::Table;

/// `case: clause: reason`, one a line.
const LIST: &str = include_str!("../../../../tests/runtime/exceptions.list");

/// How many there may be.
const MOST: usize = 5;

/// Cases that fail without a reason, and reasons that are not needed. Of a part of the cases (not `whole`) nothing is
/// said of those that were not tried.
pub fn findings(table: &Table, whole: bool) -> Result<Vec<String>> {
    judge(table, &parse(LIST)?, whole)
}

fn judge(table: &Table, listed: &[(&str, &str)], whole: bool) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    let fails = |case: &str| {
        let row = table.rows.iter().find(|row| row.case == case);
        row.map(|row| row.peers_pass() && row.passes(OURS) == Some(false))
    };
    let both = table.rows.iter().filter(|row| fails(&row.case) == Some(true));
    let unlisted = both.filter(|row| !listed.iter().any(|(case, _)| *case == row.case));
    findings.extend(unlisted.map(|row| format!("{OURS} fails {}, which crun and runc pass", row.case)));
    for (case, _) in listed {
        match fails(case) {
            Some(true) => {}
            Some(false) => {
                findings.push(format!("exceptions.list has a reason for {case}, which needs none"));
            }
            None if whole => findings.push(format!("exceptions.list names {case}, which is no case")),
            None => {}
        }
    }
    if listed.len() > MOST {
        findings.push(format!("exceptions.list has {} entries, and may have {MOST}", listed.len()));
    }
    Ok(findings)
}

/// The cases with what is said of them.
fn parse(list: &str) -> Result<Vec<(&str, &str)>> {
    let lines = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (case, rest) = line.split_once(": ").with_context(|| format!("No clause: {line}"))?;
            rest.split_once(": ").with_context(|| format!("No reason: {line}"))?;
            Ok((case, rest))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        Table::parse(
            "| c | `a` | MUST | pass | pass | pass |\n\
             | c | `b` | MUST | **fail** | pass | pass |\n\
             | c | `d` | MUST | **fail** | pass | **fail** |\n",
        )
    }

    #[test]
    fn a_failure_needs_a_reason_and_a_reason_a_failure() {
        let judged = |listed: &[(&str, &str)]| judge(&sample(), listed, true).unwrap().len();
        assert_eq!(judged(&[("b", "why")]), 0);
        assert_eq!(judged(&[]), 1);
        assert_eq!(judged(&[("b", "why"), ("a", "passes")]), 1);
        assert_eq!(judged(&[("b", "why"), ("d", "not both pass")]), 1);
        assert_eq!(judged(&[("b", "why"), ("gone", "no case")]), 1);
        assert_eq!(judge(&sample(), &[("b", "why"), ("gone", "not tried")], false).unwrap().len(), 0);
        assert_eq!(judged(&[("b", ""); 6]), 1);
    }

    #[test]
    fn every_line_has_a_clause_and_a_reason() {
        assert!(parse(LIST).is_ok());
        assert!(parse("case: no reason").is_err());
    }
}
