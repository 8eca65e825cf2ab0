//! What people are told of an error.

use std::error::Error;
use std::fmt::Write as _;

/// An error and its causes in one line. What a terminal would obey, which may be the words of an image or of a
/// registry, is escaped.
pub fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        // An error that only hands its cause on says the same twice.
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    escaped(&text)
}

fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut line, character| {
        if obeyed(character) {
            // Writing to a string does not fail.
            let _ = write!(line, "{}", character.escape_default());
        } else {
            line.push(character);
        }
        line
    })
}

/// Control characters, and those that turn the direction of writing (Unicode, UAX #9, 2.).
fn obeyed(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("Cannot take {0}")]
    struct Outer(&'static str, #[source] io::Error);

    #[test]
    fn causes_are_told_once_and_in_one_line() {
        let error = Outer("a\nb\u{1b}[31m\u{202e}é", io::Error::other("It is damaged"));
        assert_eq!(sentence(&error), "Cannot take a\\nb\\u{1b}[31m\\u{202e}é: It is damaged");
        assert_eq!(
            sentence(&io::Error::other(error)),
            sentence(&Outer("a\nb\u{1b}[31m\u{202e}é", io::Error::other("It is damaged")))
        );
    }
}
