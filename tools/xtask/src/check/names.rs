//! Names say what a thing is.

use super::Finding;
use super::lexer;
use super::tree::{File, Tree};

const RULE: &str = "names";

/// What a file or folder of source may not be called: names that gather everything.
const FORBIDDEN: [&str; 9] =
    ["utils", "util", "common", "misc", "manager", "helper", "helpers", "managers", "shared"];

/// Finds bad names of files, folders and functions.
pub fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust().flat_map(|file| [path(file), functions(file)].concat()).collect()
}

fn path(file: &File) -> Vec<Finding> {
    let parts = file.path.trim_end_matches(".rs").split(['/', '_', '-']);
    let bad = parts.filter(|part| FORBIDDEN.contains(part));
    bad.map(|part| file.finding(1, RULE, format!("{part:?} says nothing; name the file after what it holds")))
        .collect()
}

fn functions(file: &File) -> Vec<Finding> {
    let foreign = lexer::implementations(&file.tokens);
    let own = lexer::functions(&file.tokens).into_iter().filter(|function| {
        // What implements a trait has the name that the trait gave it.
        !foreign.iter().any(|lines| lines.contains(&function.start))
    });
    let bad = own.filter_map(|function| {
        let part = if function.name.starts_with("get_") {
            "get_"
        } else if function.name.starts_with("do_") {
            "do_"
        } else if function.name.ends_with("_internal") {
            "_internal"
        } else {
            return None;
        };
        Some(file.finding(function.start, RULE, format!("the function {} needs no {part:?}", function.name)))
    });
    bad.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_names_are_found() {
        for path in ["vmm/src/utils.rs", "vmm/src/common/mod.rs", "api/src/net_helper.rs"] {
            assert_eq!(check(&Tree::sample(&[(path, "")])).len(), 1, "{path}");
        }
        for text in ["fn get_x() {}", "fn do_x() {}", "fn x_internal() {}"] {
            assert_eq!(check(&Tree::sample(&[("a.rs", text)])).len(), 1, "{text}");
        }
        assert_eq!(
            check(&Tree::sample(&[("vmm/src/network.rs", "fn getter() { set.get_mut(1); } fn done() {}")])),
            []
        );
    }
}
