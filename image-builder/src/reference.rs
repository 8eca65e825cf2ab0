//! References: the names that images have in registries (github.com/distribution/reference, `reference.go`), with all
//! that Docker lets people leave out.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The registry of a reference that names none.
pub const DEFAULT_REGISTRY: &str = "docker.io";

/// Bytes of registry and repository together.
const MAX_NAME: usize = 255;

/// Bytes of a tag.
const MAX_TAG: usize = 128;

/// Bytes of words that are looked at: a name, a tag and a digest.
const MAX_WORDS: usize = 512;

/// The name of an image: `[REGISTRY[:PORT]/]REPOSITORY[:TAG][@sha256:DIGITS]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// Words that are no reference.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("The reference {words:?} is refused: {why}")]
pub struct ReferenceError {
    words: String,
    why: &'static str,
}

impl Reference {
    /// The registry's host, with its port where it has one.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository, without the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digits of the manifest's SHA-256.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// The same repository's image with these digits.
    #[must_use]
    pub fn at(&self, digest: &str) -> Self {
        Self { digest: Some(digest.to_owned()), ..self.clone() }
    }

    /// As people write it: without Docker's registry and its `library`, and without the tag `latest`.
    pub fn familiar(&self) -> String {
        let whole = self.to_string();
        let short = whole.strip_prefix("docker.io/").unwrap_or(&whole);
        let short = short.strip_prefix("library/").filter(|_| whole.len() != short.len()).unwrap_or(short);
        let short =
            if self.digest.is_none() { short.strip_suffix(":latest").unwrap_or(short) } else { short };
        // What is shorter must still be the same.
        if short.parse().as_ref() == Ok(self) { short.to_owned() } else { whole }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.registry, self.repository)?;
        self.tag.as_ref().map_or(Ok(()), |tag| write!(formatter, ":{tag}"))?;
        self.digest.as_ref().map_or(Ok(()), |digest| write!(formatter, "@sha256:{digest}"))
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(words: &str) -> Result<Self, ReferenceError> {
        parse(words).map_err(|why| ReferenceError { words: words.chars().take(MAX_WORDS).collect(), why })
    }
}

fn parse(words: &str) -> Result<Reference, &'static str> {
    if words.len() > MAX_WORDS {
        return Err("it is longer than any reference");
    }
    let (name, digest) = match words.split_once('@') {
        Some((name, digest)) => (name, Some(digits(digest)?)),
        None => (words, None),
    };
    // The colon of a port stands before the last slash.
    let (name, tag) = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (name, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err(
            "a tag has 1 to 128 letters, digits, '_', '.' and '-', and starts with none of the last two",
        );
    }
    let (registry, path) = match name.split_once('/') {
        Some((first, path)) if is_registry(first) => (first, path),
        _ => (DEFAULT_REGISTRY, name),
    };
    // In lowercase it might be no registry any more, but the beginning of a repository.
    if registry.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("a registry is written without uppercase letters");
    }
    if !is_host(registry) {
        return Err("its registry is no host name with an optional port");
    }
    if path.is_empty() {
        return Err("it names no repository");
    }
    if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("a repository has no uppercase letters");
    }
    if !path.split('/').all(is_component) {
        return Err("a repository has lowercase letters and digits, with '.', '_', '__' or '-' between them");
    }
    let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
    let library = if registry == DEFAULT_REGISTRY && !path.contains('/') { "library/" } else { "" };
    // Such a name would be taken for an image's digest.
    if !library.is_empty() && path.len() == 64 && path.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err("64 hexadecimal digits name no repository");
    }
    let repository = format!("{library}{path}");
    if registry.len() + 1 + repository.len() > MAX_NAME {
        return Err("its name is longer than 255 bytes");
    }
    let tag = tag.or(digest.is_none().then_some("latest"));
    Ok(Reference {
        registry: registry.to_owned(),
        repository,
        tag: tag.map(str::to_owned),
        digest: digest.map(str::to_owned),
    })
}

/// Whether the first component is a registry and not the beginning of a repository.
fn is_registry(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_host(words: &str) -> bool {
    let (host, port) = match words.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => {
            let address =
                host.contains(':') && host.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
            (address, port)
        }
        None => {
            let (host, port) = words.find(':').map_or((words, ""), |colon| words.split_at(colon));
            (host.split('.').all(is_label), port)
        }
    };
    let port = match port.strip_prefix(':') {
        Some(port) => {
            port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
        }
        None => port.is_empty(),
    };
    host && port
}

fn is_label(label: &str) -> bool {
    let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    inner && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
}

fn is_component(component: &str) -> bool {
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let separators =
        component.split(|character: char| character.is_ascii_lowercase() || character.is_ascii_digit());
    let known = |separator: &str| {
        matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
    };
    ends(component.bytes().next()) && ends(component.bytes().next_back()) && separators.into_iter().all(known)
}

/// Whether this is a tag.
pub(crate) fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let rest = tag.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'));
    rest && tag.len() <= MAX_TAG && tag.bytes().next().is_some_and(word)
}

fn digits(digest: &str) -> Result<&str, &'static str> {
    let known = |digits: &&str| {
        digits.len() == 64 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    };
    digest
        .strip_prefix("sha256:")
        .filter(known)
        .ok_or("a digest is sha256: and 64 lowercase hexadecimal digits")
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
