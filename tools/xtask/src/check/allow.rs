//! The allow-list: `allow.list` beside this file, compiled in.

use anyhow::{Context, Result, bail};

use super::Finding;

const LIST: &str = include_str!("allow.list");
const LIST_PATH: &str = "tools/xtask/src/check/allow.list";

/// One line of the list.
#[derive(Debug)]
struct Entry {
    rule: String,
    path: String,
    line: usize,
}

impl Entry {
    fn covers(&self, finding: &Finding) -> bool {
        let inside = self.path.ends_with('/') && finding.path.starts_with(&self.path);
        self.rule == finding.rule && (inside || self.path == finding.path)
    }
}

/// What is allowed, and why.
#[derive(Debug)]
pub struct Allowed(Vec<Entry>);

impl Allowed {
    /// Reads the list that was compiled in.
    pub fn read() -> Result<Self> {
        Self::parse(LIST)
    }

    fn parse(list: &str) -> Result<Self> {
        let mut entries = Vec::new();
        for (index, line) in list.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let entry = parse(line, index + 1)
                .with_context(|| format!("{LIST_PATH}:{}: cannot read {line:?}", index + 1))?;
            entries.push(entry);
        }
        Ok(Self(entries))
    }

    /// Whether an entry allows this finding.
    pub fn covers(&self, finding: &Finding) -> bool {
        self.0.iter().any(|entry| entry.covers(finding))
    }

    /// A finding for each entry that allows nothing any more.
    pub fn unneeded(&self, found: &[Finding]) -> Vec<Finding> {
        let unneeded = self.0.iter().filter(|entry| !found.iter().any(|finding| entry.covers(finding)));
        unneeded
            .map(|entry| Finding {
                path: LIST_PATH.to_owned(),
                line: entry.line,
                rule: "allow",
                sentence: format!(
                    "nothing in {} needs the rule {:?} relaxed; remove this entry",
                    entry.path, entry.rule
                ),
            })
            .collect()
    }
}

fn parse(line: &str, number: usize) -> Result<Entry> {
    let (head, reason) = line.split_once(": ").context("it has no `: reason`")?;
    let (rule, path) = head.split_once(' ').context("it is not `rule path: reason`")?;
    if reason.trim().len() < 10 {
        bail!("its reason says too little");
    }
    Ok(Entry { rule: rule.to_owned(), path: path.trim().to_owned(), line: number })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(path: &str) -> Finding {
        Finding { path: path.to_owned(), line: 1, rule: "unsafe", sentence: String::new() }
    }

    #[test]
    fn entries_cover_files_and_folders_and_must_be_needed() {
        let allowed =
            Allowed::parse("# x\nunsafe a/b.rs: calls the kernel itself\nunsafe c/: maps guest memory\n")
                .unwrap();
        assert!(allowed.covers(&finding("a/b.rs")) && allowed.covers(&finding("c/d/e.rs")));
        assert!(!allowed.covers(&finding("a/b.rs.rs")));
        assert_eq!(allowed.unneeded(&[finding("a/b.rs")]).len(), 1);
        assert!(allowed.unneeded(&[finding("a/b.rs"), finding("c/d")]).is_empty());
    }

    #[test]
    fn an_entry_has_a_reason() {
        assert!(Allowed::parse("unsafe a/b.rs").is_err());
        assert!(Allowed::parse("unsafe a/b.rs: ok").is_err());
        assert!(Allowed::read().is_ok());
    }
}
