//! What differs from Firecracker's description on purpose, with the reasons.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

const LIST: &str = include_str!("differences.list");

/// Differences without a reason, and reasons without a difference.
pub fn unexplained(differences: &[String]) -> Result<Vec<String>> {
    let reasons = reasons(LIST)?;
    let explains = |pattern: &str, difference: &str| match pattern.strip_suffix('*') {
        Some(beginning) => difference.starts_with(beginning),
        None => difference == pattern,
    };
    let new = differences
        .iter()
        .filter(|difference| !reasons.keys().any(|pattern| explains(pattern, difference)))
        .map(|difference| format!("openapi: {difference}"));
    let gone = reasons
        .keys()
        .filter(|pattern| !differences.iter().any(|difference| explains(pattern, difference)))
        .map(|pattern| {
            format!("openapi: differences.list gives a reason for what is no difference: {pattern}")
        });
    Ok(new.chain(gone).collect())
}

fn reasons(list: &str) -> Result<BTreeMap<&str, &str>> {
    let lines = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.split_once(": ").with_context(|| format!("No reason in differences.list: {line}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_a_reason() {
        assert!(reasons(LIST).is_ok());
        assert!(reasons("a b").is_err());
        assert_eq!(reasons("# x\n\na b: c: d\n").unwrap()["a b"], "c: d");
    }
}
