//! Nothing is left for later, switched off, or called "other".

use super::Finding;
use super::tree::{File, Tree};

const RULE: &str = "unfinished";

/// Sequences of tokens that may not occur, and why.
const FORBIDDEN: [(&[&str], &str); 4] = [
    (&["todo", "!"], "`todo!` is not code; write it or leave it out"),
    (&["unimplemented", "!"], "`unimplemented!` is not code; write it or leave it out"),
    (&["#", "[", "ignore"], "a test that is ignored is a defect; let it fail with a reason"),
    (&["Other", "(", "String", ")"], "`Other(String)` is no error variant; name the operation that failed"),
];

/// Finds what is unfinished.
pub fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust()
        .flat_map(|file| FORBIDDEN.iter().flat_map(|(tokens, why)| occurrences(file, tokens, why)))
        .collect()
}

fn occurrences(file: &File, wanted: &[&str], why: &str) -> Vec<Finding> {
    let windows = file.tokens.windows(wanted.len());
    let same =
        windows.filter(|window| window.iter().map(|token| token.text.as_str()).eq(wanted.iter().copied()));
    same.filter_map(|window| Some(file.finding(window.first()?.line, RULE, why))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_for_later_is_found() {
        for text in [
            "fn a() { todo!() }",
            "unimplemented!(\"x\")",
            "#[test] #[ignore = \"slow\"] fn a() {}",
            "enum E { Other(String) }",
        ] {
            assert_eq!(check(&Tree::sample(&[("a.rs", text)])).len(), 1, "{text}");
        }
        assert_eq!(
            check(&Tree::sample(&[("a.rs", "// todo!\nlet a = \"todo!\"; let todo = 1; if !todo {}")])),
            []
        );
    }
}
