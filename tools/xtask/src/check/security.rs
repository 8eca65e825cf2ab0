//! A page about security (`SECURITY.md`) tells of each flaw by which tests it is known to be absent: the code
//! words in the last column of its tables. Each of them is a test.

use std::collections::BTreeSet;

use super::Finding;
use super::tree::{File, Tree};

const RULE: &str = "security";

/// Finds tests that are named and not there.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let tests: BTreeSet<&str> = tree.rust().flat_map(tests).collect();
    let pages = tree.files.iter().filter(|file| file.path.ends_with("SECURITY.md"));
    pages.flat_map(|page| missing(page, &tests)).collect()
}

/// The functions behind `#[test]`.
fn tests(file: &File) -> impl Iterator<Item = &str> {
    let words: Vec<&str> = file.tokens.iter().map(|token| token.text.as_str()).collect();
    let after = |at: usize| file.tokens.get(at..).unwrap_or_default();
    let starts = words.windows(4).enumerate().filter(|(_, window)| *window == ["#", "[", "test", "]"]);
    let starts: Vec<usize> = starts.map(|(at, _)| at).collect();
    starts.into_iter().filter_map(move |at| {
        let name = after(at).iter().skip_while(|token| token.text != "fn").nth(1)?;
        Some(name.text.as_str())
    })
}

fn missing(page: &File, tests: &BTreeSet<&str>) -> Vec<Finding> {
    let rows = page.text.lines().enumerate().filter(|(_, line)| line.starts_with('|'));
    let named = rows.flat_map(|(index, line)| {
        let cell = line.trim_end_matches([' ', '|']).rsplit('|').next().unwrap_or_default();
        cell.split('`').skip(1).step_by(2).map(move |name| (index + 1, name))
    });
    let gone = named.filter(|(_, name)| !tests.contains(name));
    gone.map(|(line, name)| page.finding(line, RULE, format!("there is no test {name}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_are_not_there_are_found() {
        let page = "| id | by `x.rs` | `first`, `second`, `third` |\n| id | `none` | a clause |\n`fourth`";
        let code = "#[test]\nfn first() {} #[test] #[should_panic] fn second() {} fn third() {}";
        let findings = check(&Tree::sample(&[("vmm/SECURITY.md", page), ("vmm/src/a.rs", code)]));
        let said: Vec<_> = findings.iter().map(|finding| (finding.line, finding.sentence.as_str())).collect();
        assert_eq!(said, [(1, "there is no test third")]);
    }
}
