//! Just enough of Rust's grammar to know code from comments and literals, and where functions end.

use std::ops::RangeInclusive;

/// A word, a `::`, or one other character of code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The line it is on, from 1.
    pub line: usize,
    /// What it is. A literal string is `"`, a literal character `'`, a number its digits.
    pub text: String,
}

impl Token {
    /// Whether this is a word: a name or a keyword.
    pub fn is_word(&self) -> bool {
        self.text.starts_with(|first: char| first.is_alphabetic() || first == '_')
    }
}

/// Cuts source into tokens.
pub fn tokens(source: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: source, line: 1 };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.token() {
        tokens.push(token);
    }
    tokens
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
}

impl Lexer<'_> {
    fn token(&mut self) -> Option<Token> {
        self.skip_blank();
        let line = self.line;
        let first = self.rest.chars().next()?;
        let text = if let Some(length) = raw_string(self.rest) {
            self.advance(length);
            "\"".to_owned()
        } else if let Some(prefix) =
            ["\"", "b\"", "c\""].iter().find(|prefix| self.rest.starts_with(**prefix))
        {
            self.advance(prefix.len());
            self.skip_string();
            "\"".to_owned()
        } else if let Some(length) = character(self.rest) {
            self.advance(length);
            "'".to_owned()
        } else if first.is_alphanumeric() || first == '_' {
            let word = self.rest.strip_prefix("r#").unwrap_or(self.rest);
            let skipped = self.rest.len() - word.len();
            let length = word.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(word.len());
            self.advance(skipped);
            self.advance(length)
        } else if self.rest.starts_with("::") {
            self.advance(2)
        } else {
            self.advance(first.len_utf8())
        };
        Some(Token { line, text })
    }

    fn advance(&mut self, length: usize) -> String {
        let (gone, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.line += gone.matches('\n').count();
        self.rest = rest;
        gone.to_owned()
    }

    /// Passes white space and comments.
    fn skip_blank(&mut self) {
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            if blank > 0 {
                self.advance(blank);
            } else if self.rest.starts_with("//") {
                self.advance(self.rest.find('\n').unwrap_or(self.rest.len()));
            } else if self.rest.starts_with("/*") {
                self.skip_block_comment();
            } else {
                return;
            }
        }
    }

    fn skip_block_comment(&mut self) {
        let mut depth = 0;
        while !self.rest.is_empty() {
            if self.rest.starts_with("/*") {
                depth += 1;
                self.advance(2);
            } else if self.rest.starts_with("*/") {
                depth -= 1;
                self.advance(2);
            } else {
                self.advance(self.rest.chars().next().map_or(1, char::len_utf8));
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// Passes the rest of a string, its closing quote included.
    fn skip_string(&mut self) {
        let mut escaped = false;
        let end = self.rest.char_indices().find(|(_, c)| {
            let closing = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            closing
        });
        self.advance(end.map_or(self.rest.len(), |(index, _)| index + 1));
    }
}

/// The length of a raw string that starts here.
fn raw_string(text: &str) -> Option<usize> {
    let prefix = ["r", "br", "cr"].into_iter().find(|prefix| {
        text.strip_prefix(prefix).is_some_and(|rest| rest.trim_start_matches('#').starts_with('"'))
    })?;
    let rest = text.get(prefix.len()..)?;
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let closing = format!("\"{}", "#".repeat(hashes));
    let body = prefix.len() + hashes + 1;
    let end = text.get(body..)?.find(&closing).map_or(text.len(), |index| body + index + closing.len());
    Some(end)
}

/// The length of a literal character or byte that starts here; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let body = text.strip_prefix("b'").or_else(|| text.strip_prefix('\''))?;
    let start = text.len() - body.len();
    if let Some(escape) = body.strip_prefix('\\') {
        let first = escape.chars().next()?.len_utf8();
        return Some(start + 1 + first + escape.get(first..)?.find('\'')? + 1);
    }
    let first = body.chars().next()?.len_utf8();
    body.get(first..)?.starts_with('\'').then_some(start + first + 1)
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of `fn`.
    pub start: usize,
    /// The line of the closing brace.
    pub end: usize,
}

/// Finds the functions, nested ones too.
pub fn functions(tokens: &[Token]) -> Vec<Function> {
    let named = tokens.windows(2).enumerate().filter_map(|(index, pair)| match pair {
        [keyword, name] if keyword.text == "fn" && name.is_word() => Some((index, name)),
        _ => None,
    });
    named
        .filter_map(|(index, name)| {
            let start = tokens.get(index)?.line;
            Some(Function { name: name.text.clone(), start, end: body_end(tokens.get(index..)?)? })
        })
        .collect()
}

/// The lines of the blocks that implement a trait for a type.
pub fn implementations(tokens: &[Token]) -> Vec<RangeInclusive<usize>> {
    let starts = tokens.iter().enumerate().filter(|(_, token)| token.text == "impl");
    starts
        .filter_map(|(index, start)| {
            let rest = tokens.get(index..)?;
            let head = rest.split(|token| token.text == "{").next()?;
            let of_trait = head.iter().any(|token| token.text == "for");
            of_trait.then_some(start.line..=body_end(rest)?)
        })
        .collect()
}

/// The line on which the first block of these tokens closes; none when a `;` comes before it.
pub fn body_end(tokens: &[Token]) -> Option<usize> {
    let mut braces = 0_usize;
    let mut inner = 0_usize;
    for token in tokens {
        match token.text.as_str() {
            "(" | "[" => inner += 1,
            ")" | "]" => inner = inner.saturating_sub(1),
            "{" => braces += 1,
            "}" if braces <= 1 => return Some(token.line),
            "}" => braces -= 1,
            ";" if braces == 0 && inner == 0 => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
#[path = "lexer_tests.rs"]
mod tests;
