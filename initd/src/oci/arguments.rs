//! The words of the command line.

use super::error::OciError;

/// A flag that a verb takes.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    name: &'static str,
    short: Option<char>,
    takes_value: bool,
}

impl Flag {
    /// A flag that is followed by a value, or has it behind `=`.
    pub const fn value(name: &'static str) -> Self {
        Self { name, short: None, takes_value: true }
    }

    /// A flag that is there or not; `=true` and `=false` may follow.
    pub const fn switch(name: &'static str) -> Self {
        Self { name, short: None, takes_value: false }
    }

    /// The same with a letter.
    pub const fn short(self, letter: char) -> Self {
        Self { short: Some(letter), ..self }
    }
}

/// Flags and other words.
#[derive(Debug, Default)]
pub struct Words {
    flags: Vec<(&'static str, String)>,
    rest: Vec<String>,
}

impl Words {
    /// The last value of a flag.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.flags.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// All values of a flag.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.flags.iter().filter(move |(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// Whether a switch is set.
    pub fn has(&self, name: &str) -> bool {
        self.value(name).is_some_and(|value| value != "false")
    }

    /// A flag's value as a number.
    pub fn number<T: std::str::FromStr>(&self, name: &'static str) -> Result<Option<T>, OciError> {
        let parse = |value: &str| value.parse().map_err(|_| OciError::Number(name, value.to_owned()));
        self.value(name).map(parse).transpose()
    }

    /// The words that are no flags.
    pub fn rest(&self) -> &[String] {
        &self.rest
    }

    /// The only word that is no flag: a container's id.
    pub fn id(&self) -> Result<&str, OciError> {
        match self.rest.as_slice() {
            [id] => Ok(id),
            [] => Err(OciError::NoId),
            [_, more, ..] => Err(OciError::TooManyWords(more.clone())),
        }
    }

    /// Flags and words apart.
    pub fn split(mut self) -> (Self, Vec<String>) {
        let rest = std::mem::take(&mut self.rest);
        (self, rest)
    }
}

/// Sorts words. With `stops` everything from the first word that is no flag on is left as it is.
pub fn parse(flags: &[Flag], words: Vec<String>, stops: bool) -> Result<Words, OciError> {
    let mut parsed = Words::default();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let bare = word.strip_prefix("--").or_else(|| word.strip_prefix('-'));
        let Some(bare) = bare.filter(|bare| !bare.is_empty()) else {
            if word == "--" {
                parsed.rest.extend(words);
                break;
            }
            parsed.rest.push(word);
            if stops {
                parsed.rest.extend(words);
                break;
            }
            continue;
        };
        let (name, value) = match bare.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (bare, None),
        };
        let mut letters = name.chars();
        let letter = letters.next().filter(|_| letters.next().is_none());
        let known = |flag: &&Flag| flag.name == name || (letter.is_some() && flag.short == letter);
        let flag = flags.iter().find(known).ok_or_else(|| OciError::NoFlag(word.clone()))?;
        let value = match value {
            Some(value) => value,
            None if flag.takes_value => words.next().ok_or(OciError::NoValue(flag.name))?,
            None => "true".to_owned(),
        };
        parsed.flags.push((flag.name, value));
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[Flag::value("bundle").short('b'), Flag::switch("force").short('f')];

    fn words(text: &str, stops: bool) -> Result<Words, OciError> {
        parse(FLAGS, text.split(' ').map(ToOwned::to_owned).collect(), stops)
    }

    #[test]
    fn flags_are_written_in_every_usual_way() {
        for text in ["--bundle /b id", "--bundle=/b id", "-b /b id", "id -bundle /b"] {
            let words = words(text, false).unwrap();
            assert_eq!((words.value("bundle"), words.id().unwrap()), (Some("/b"), "id"), "{text}");
        }
        assert!(words("-f x", false).unwrap().has("force"));
        assert!(!words("--force=false x", false).unwrap().has("force"));
    }

    #[test]
    fn a_program_s_words_are_left_alone() {
        let words = words("-f id sh -c --bundle", true).unwrap();
        assert_eq!(words.rest(), ["id", "sh", "-c", "--bundle"]);
    }

    #[test]
    fn mistakes_are_named() {
        assert!(matches!(words("--nothing x", false), Err(OciError::NoFlag(_))));
        assert!(matches!(words("--bundle", false), Err(OciError::NoValue("bundle"))));
        assert!(matches!(words("a b", false).unwrap().id(), Err(OciError::TooManyWords(_))));
    }
}
