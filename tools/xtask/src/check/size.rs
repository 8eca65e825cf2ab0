//! Files, functions and inline tests stay small enough to be read.

use super::Finding;
use super::lexer::{self, Token};
use super::tree::{File, Tree};

const RULE: &str = "size";
const FILE: usize = 600;
const FUNCTION: usize = 80;
const TESTS: usize = 80;

/// Finds what is too long.
pub fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust().flat_map(|file| [length(file), functions(file), tests(file)].concat()).collect()
}

fn length(file: &File) -> Vec<Finding> {
    let lines = file.text.lines().count();
    let sentence = format!("the file has {lines} lines; the limit is {FILE}");
    if lines > FILE { vec![file.finding(1, RULE, sentence)] } else { Vec::new() }
}

fn functions(file: &File) -> Vec<Finding> {
    let functions = lexer::functions(&file.tokens).into_iter().map(|function| {
        let lines = function.end - function.start + 1;
        (function, lines)
    });
    let long = functions.filter(|(_, lines)| *lines > FUNCTION);
    long.map(|(function, lines)| {
        file.finding(
            function.start,
            RULE,
            format!("the function {} has {lines} lines; the limit is {FUNCTION}", function.name),
        )
    })
    .collect()
}

fn tests(file: &File) -> Vec<Finding> {
    let texts: Vec<&str> = file.tokens.iter().map(|token| token.text.as_str()).collect();
    let start = texts.windows(3).position(|three| three == ["mod", "tests", "{"]);
    let Some((first, rest)) =
        start.and_then(|start| file.tokens.get(start..)).and_then(<[Token]>::split_first)
    else {
        return Vec::new();
    };
    let lines = lexer::body_end(rest).map_or(0, |end| end - first.line + 1);
    let sentence =
        format!("the tests have {lines} lines; above {TESTS} they move to a file x_tests.rs beside it");
    if lines > TESTS { vec![file.finding(first.line, RULE, sentence)] } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_functions_and_tests_are_found() {
        let body = "    x();\n".repeat(80);
        let samples = [
            ("a.rs", "\n".repeat(601)),
            ("b.rs", format!("fn long() {{\n{body}}}\n")),
            ("c.rs", format!("#[cfg(test)]\nmod tests {{\n{body}}}\n")),
        ];
        for (path, text) in samples {
            assert_eq!(check(&Tree::sample(&[(path, &text)])).len(), 1, "{path}");
        }
        let body = "    x();\n".repeat(78);
        assert_eq!(check(&Tree::sample(&[("a.rs", &format!("fn right() {{\n{body}}}\nmod tests;"))])), []);
    }
}
