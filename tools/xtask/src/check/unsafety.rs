//! `unsafe` only where a module is listed for it, with a reason, in the allow-list.

use super::Finding;
use super::tree::Tree;

const RULE: &str = "unsafe";

/// Finds files that use `unsafe` or switch its lint off. Every use in a file is one finding.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let files = tree.rust().filter_map(|file| {
        let first = file.tokens.iter().find(|token| token.text == "unsafe" || token.text == "unsafe_code")?;
        Some(file.finding(
            first.line,
            RULE,
            "unsafe code outside the modules that are listed for it in allow.list",
        ))
    });
    files.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_code_is_found() {
        for text in [
            "fn a() { unsafe { b() } }",
            "#![allow(unsafe_code, reason = \"x\")]",
            "unsafe impl Send for A {}",
        ] {
            assert_eq!(check(&Tree::sample(&[("a.rs", text)])).len(), 1, "{text}");
        }
        assert_eq!(check(&Tree::sample(&[("a.rs", "// unsafe\nlet a = \"unsafe\";")])), []);
    }
}
