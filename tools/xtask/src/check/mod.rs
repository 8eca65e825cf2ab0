//! `cargo xtask check`: the rules of the house that a program can hold. One rule a file; each takes the
//! tree and gives findings, one line each: `path:line: rule: sentence`.

mod allow;
mod edges;
mod errors;
mod layout;
mod lexer;
mod manifests;
mod names;
mod security;
mod size;
mod tree;
mod unfinished;
mod unsafety;

use std::fmt;

use anyhow::Result;

use crate::workspace;
use allow::Allowed;
use tree::Tree;

/// What breaks a rule, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    line: usize,
    rule: &'static str,
    sentence: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}: {}", self.path, self.line, self.rule, self.sentence)
    }
}

/// All rules, in the order in which people read about them.
const RULES: [fn(&Tree) -> Vec<Finding>; 9] = [
    layout::check,
    manifests::check,
    names::check,
    size::check,
    edges::check,
    errors::check,
    security::check,
    unfinished::check,
    unsafety::check,
];

/// Checks the checkout; 0 when nothing is found.
pub fn run() -> Result<u8> {
    let tree = Tree::read(&workspace::root()?)?;
    let allowed = Allowed::read()?;
    let findings = judge(&tree, &allowed);
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("xtask check: {} files, nothing found", tree.files.len());
    }
    Ok(u8::from(!findings.is_empty()))
}

fn judge(tree: &Tree, allowed: &Allowed) -> Vec<Finding> {
    let found: Vec<Finding> = RULES.iter().flat_map(|rule| rule(tree)).collect();
    let mut findings = allowed.unneeded(&found);
    findings.extend(found.into_iter().filter(|finding| !allowed.covers(finding)));
    findings.sort();
    findings.dedup();
    findings
}
