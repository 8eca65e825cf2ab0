//! The words that ask for a Debian: `SUITE[?include=a,b][&variant=minbase][&mirror=URL]`.
//!
//! Each becomes an argument of mmdebstrap, so each is checked against the characters that its kind has.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// How long a word may be, in bytes; a list of packages may have [`MAX_PACKAGES`] of them.
const MAX_WORD: usize = 200;

/// How many packages may be asked for.
const MAX_PACKAGES: usize = 500;

/// What mmdebstrap calls the sets of packages that a root starts from.
const VARIANTS: [&str; 7] = ["essential", "apt", "minbase", "required", "buildd", "important", "standard"];

/// Which Debian is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebianSpec {
    /// The release: `bookworm`, `stable`, ...
    pub suite: String,
    /// Packages besides those of the variant.
    pub include: Vec<String>,
    /// The set of packages to start from, one of mmdebstrap's.
    pub variant: String,
    /// Where packages come from, `http://` or `https://`; none is mmdebstrap's own choice.
    pub mirror: Option<String>,
}

/// Words that ask for no Debian.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DebianSpecError {
    /// The release.
    #[error("{0:?} is not the name of a Debian suite")]
    Suite(String),
    /// A package.
    #[error("{0:?} is not the name of a Debian package")]
    Package(String),
    /// Too many packages.
    #[error("More than 500 packages are asked for")]
    Packages,
    /// The variant.
    #[error("{0:?} is none of essential, apt, minbase, required, buildd, important and standard")]
    Variant(String),
    /// The mirror.
    #[error("{0:?} is not the address of a mirror: http:// or https://, host and path")]
    Mirror(String),
    /// Something else.
    #[error("{0:?} is none of include=, variant= and mirror=, each at most once")]
    Option(String),
}

impl FromStr for DebianSpec {
    type Err = DebianSpecError;

    fn from_str(words: &str) -> Result<Self, DebianSpecError> {
        let (suite, options) = words.split_once('?').unwrap_or((words, ""));
        if !is_word(suite, b"-.") {
            return Err(DebianSpecError::Suite(shown(suite)));
        }
        let (mut include, mut variant, mut mirror) = (None, None, None);
        for option in options.split('&').filter(|_| !options.is_empty()) {
            let (place, value) = match option.split_once('=') {
                Some(("include", value)) => (&mut include, value),
                Some(("variant", value)) => (&mut variant, value),
                Some(("mirror", value)) => (&mut mirror, value),
                _ => return Err(DebianSpecError::Option(shown(option))),
            };
            if place.replace(value).is_some() {
                return Err(DebianSpecError::Option(shown(option)));
            }
        }
        let variant = variant.unwrap_or("minbase");
        if !VARIANTS.contains(&variant) {
            return Err(DebianSpecError::Variant(shown(variant)));
        }
        if let Some(mirror) = mirror.filter(|mirror| !is_mirror(mirror)) {
            return Err(DebianSpecError::Mirror(shown(mirror)));
        }
        Ok(Self {
            suite: suite.to_owned(),
            include: packages(include)?,
            variant: variant.to_owned(),
            mirror: mirror.map(str::to_owned),
        })
    }
}

fn packages(include: Option<&str>) -> Result<Vec<String>, DebianSpecError> {
    let Some(include) = include else { return Ok(Vec::new()) };
    if include.split(',').count() > MAX_PACKAGES {
        return Err(DebianSpecError::Packages);
    }
    // Debian policy 5.6.1; nothing of apt's patterns, versions and paths to files.
    let package = |name: &str| match name.len() > 1 && is_word(name, b"+-.") {
        true => Ok(name.to_owned()),
        false => Err(DebianSpecError::Package(shown(name))),
    };
    include.split(',').map(package).collect()
}

/// Lower case letters, digits and `others`, the first of them a letter or a digit: never an option.
fn is_word(word: &str, others: &[u8]) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let starts = word.bytes().next().is_some_and(alphanumeric);
    starts && word.len() <= MAX_WORD && word.bytes().all(|byte| alphanumeric(byte) || others.contains(&byte))
}

/// An address without a user, a query or a blank: apt would read a blank as the end of a word.
fn is_mirror(mirror: &str) -> bool {
    let rest = mirror.strip_prefix("https://").or(mirror.strip_prefix("http://"));
    let host = |rest: &str| rest.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/+%".contains(&byte);
    rest.is_some_and(|rest| host(rest) && rest.len() <= MAX_WORD && rest.bytes().all(plain))
}

fn shown(word: &str) -> String {
    word.chars().take(100).collect()
}

impl fmt::Display for DebianSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "debian:{}", self.suite)?;
        let include = Some(self.include.join(",")).filter(|list| !list.is_empty());
        let variant = Some(self.variant.clone()).filter(|variant| variant != "minbase");
        let options = [("include", include), ("variant", variant), ("mirror", self.mirror.clone())];
        let mut separator = '?';
        for (name, value) in options {
            if let Some(value) = value {
                write!(formatter, "{separator}{name}={value}")?;
                separator = '&';
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_understood_and_said_again() {
        for words in [
            "bookworm",
            "bookworm?include=redis-server,g++,libstdc++6,0ad",
            "stable-backports?variant=essential",
            "trixie?include=curl&variant=apt&mirror=https://deb.debian.org:443/debian",
        ] {
            assert_eq!(words.parse::<DebianSpec>().unwrap().to_string(), format!("debian:{words}"));
        }
        let spec: DebianSpec = "sid?mirror=http://[::1]/".parse().unwrap_or_else(|error| {
            assert_eq!(error, DebianSpecError::Mirror("http://[::1]/".to_owned()));
            "sid".parse().unwrap()
        });
        assert_eq!((spec.variant.as_str(), spec.mirror), ("minbase", None));
    }

    #[test]
    fn no_word_becomes_an_option_a_path_or_a_command() {
        for words in [
            "",
            "-x",
            "--setup-hook=reboot",
            "../x",
            "book worm",
            "bookworm;reboot",
            "bookworm?include=",
            "bookworm?include=a",
            "bookworm?include=--yes,curl",
            "bookworm?include=./x.deb",
            "bookworm?include=/tmp/x.deb",
            "bookworm?include=?essential",
            "bookworm?include=curl=1.0",
            "bookworm?include=curl/sid",
            "bookworm?include=curl,,wget",
            "bookworm?include=curl\nwget",
            "bookworm?include=Curl",
            "bookworm?variant=custom",
            "bookworm?variant=",
            "bookworm?mirror=file:///etc",
            "bookworm?mirror=copy:/etc",
            "bookworm?mirror=http://",
            "bookworm?mirror=http://-x/",
            "bookworm?mirror=http://user@host/",
            "bookworm?mirror=http://host/ bookworm main",
            "bookworm?mirror=deb [trusted=yes] http://host/",
            "bookworm?keyring=/tmp/x",
            "bookworm?include=curl&include=wget",
            "bookworm?curl",
            "bookworm?&",
        ] {
            assert!(words.parse::<DebianSpec>().is_err(), "{words:?}");
        }
        let many = format!("bookworm?include={}", vec!["curl"; 501].join(","));
        assert_eq!(many.parse::<DebianSpec>(), Err(DebianSpecError::Packages));
    }
}
