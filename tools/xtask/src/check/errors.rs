//! An error's message names the operation and its subject, never its cause: the chain is printed once, at the edge.

use super::Finding;
use super::tree::{File, Tree};

const RULE: &str = "errors";

/// Finds messages that print their own cause.
pub fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust().filter(|file| !file.path.starts_with("tools/xtask/src/check/")).flat_map(messages).collect()
}

fn messages(file: &File) -> Vec<Finding> {
    let parts: Vec<&str> = file.text.split("#[error(").collect();
    let mut line = 1;
    let mut findings = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        // The text before the first attribute is none of a message's.
        if index > 0 && prints_cause(part) {
            findings.push(file.finding(
                line,
                RULE,
                "the message prints its cause; leave that to `#[source]` and the edge",
            ));
        }
        line += part.matches('\n').count();
    }
    findings
}

/// Judges the rest of an attribute `#[error(` and the variant behind it.
fn prints_cause(text: &str) -> bool {
    let Some((message, variant)) = text.split_once(")]") else { return false };
    let named = ["{source}", "{source:", "{cause}", "{cause:"].iter().any(|cause| message.contains(cause));
    let first = message.contains("{0}") || message.contains("{0:");
    let variant = variant.trim_start().trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
    named || (first && (variant.starts_with("(#[from]") || variant.starts_with("(#[source]")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_print_their_cause_are_found() {
        let bad = [
            "enum E {\n #[error(\"Cannot open {path}: {source}\")]\n Open { path: String, source: Error } }",
            "enum E {\n #[error(\"Cannot open: {0}\")]\n Open(#[from] Error) }",
        ];
        for text in bad {
            let found = check(&Tree::sample(&[("a.rs", text)]));
            assert_eq!(found.iter().map(|finding| finding.line).collect::<Vec<_>>(), [2], "{text}");
        }
        let good = "enum E { #[error(\"Cannot open {0}\")]\n Open(String, #[source] Error), #[error(\"No {source_name}\")] No }";
        assert_eq!(check(&Tree::sample(&[("a.rs", good)])), []);
    }
}
