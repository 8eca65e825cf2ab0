//! A page about security (`SECURITY.md`) tells of each flaw by which tests it is known to be absent: the code
//! words in the last column of its tables. Each of them is a test. And no crate is older than its last known flaw.

use std::collections::BTreeSet;

use super::Finding;
use super::tree::{File, Tree};

const RULE: &str = "security";

/// Crates, the version that mended a flaw of theirs, and the flaw.
const MENDED: [(&str, [u64; 3], &str); 5] = [
    ("vm-memory", [0, 12, 2], "CVE-2023-41051"),
    ("vmm-sys-util", [0, 12, 0], "CVE-2023-50711"),
    ("linux-loader", [0, 8, 1], "CVE-2022-23523"),
    ("kvm-ioctls", [0, 19, 1], "RUSTSEC-2024-0428"),
    ("vm-superio", [0, 1, 1], "CVE-2020-27173"),
];

/// Finds tests that are named and not there, and crates that are too old.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let tests: BTreeSet<&str> = tree.rust().flat_map(tests).collect();
    let pages = tree.files.iter().filter(|file| file.path.ends_with("SECURITY.md"));
    let locks = tree.files.iter().filter(|file| file.path == "Cargo.lock");
    pages.flat_map(|page| missing(page, &tests)).chain(locks.flat_map(outdated)).collect()
}

/// What the lock file has of crates that are older than the version which mended them.
fn outdated(lock: &File) -> Vec<Finding> {
    let lines: Vec<&str> = lock.text.lines().collect();
    let quoted =
        |line: &str, key: &str| Some(line.strip_prefix(key)?.trim_matches([' ', '=', '"']).to_owned());
    let packages = lines.windows(2).enumerate().filter_map(|(index, pair)| match pair {
        [name, version] => Some((index + 1, quoted(name, "name")?, quoted(version, "version")?)),
        _ => None,
    });
    let old = packages.filter_map(|(line, name, version)| {
        let (_, mended, flaw) = MENDED.iter().find(|(mended, ..)| *mended == name)?;
        let numbers: Vec<u64> = version.split('.').map(|part| part.parse().unwrap_or(0)).collect();
        let sentence = format!("{name} {version} has {flaw}, which {mended:?} mended");
        (numbers.as_slice() < mended.as_slice()).then(|| lock.finding(line, RULE, sentence))
    });
    old.collect()
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

    #[test]
    fn crates_with_known_flaws_are_found() {
        let lock = |version: &str| format!("[[package]]\nname = \"vm-memory\"\nversion = \"{version}\"\n");
        for (version, count) in [("0.12.1", 1), ("0.9.10", 1), ("0.12.2", 0), ("0.18.0", 0), ("1.0.0", 0)] {
            assert_eq!(check(&Tree::sample(&[("Cargo.lock", &lock(version))])).len(), count, "{version}");
        }
    }
}
