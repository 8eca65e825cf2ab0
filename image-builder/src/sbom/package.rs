//! A package and the words for it.

use std::fmt::Write;

/// The longest word that is taken from a database, in characters.
const MAX_WORD: usize = 500;

/// Whose package it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PackageKind {
    /// dpkg's.
    Deb,
    /// apk's.
    Apk,
    /// Python's.
    Pypi,
    /// npm's.
    Npm,
}

impl PackageKind {
    /// The type in a package URL.
    pub fn word(self) -> &'static str {
        match self {
            Self::Deb => "deb",
            Self::Apk => "apk",
            Self::Pypi => "pypi",
            Self::Npm => "npm",
        }
    }
}

/// A package that is installed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Whose.
    pub kind: PackageKind,
    /// Its name; npm's with the scope.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The architecture, where the package has one.
    pub architecture: Option<String>,
    /// Its licence, in the package's words.
    pub licence: Option<String>,
    /// Its package URL (<https://github.com/package-url/purl-spec>).
    pub purl: String,
}

/// The distribution, as `/etc/os-release` tells it (`os-release(5)`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct System {
    id: Option<String>,
    version: Option<String>,
}

impl System {
    pub(super) fn read(text: &str) -> Self {
        let mut system = Self::default();
        for line in text.lines().take(1000) {
            match line.split_once('=') {
                Some(("ID", value)) => system.id = plain_id(value),
                Some(("VERSION_ID", value)) => system.version = plain_id(value),
                _ => {}
            }
        }
        system
    }
}

fn plain_id(value: &str) -> Option<String> {
    let value = value.trim().trim_matches(['"', '\'']);
    let plain = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || "._-".contains(char);
    Some(value.to_owned()).filter(|value| !value.is_empty() && value.len() <= 64 && value.chars().all(plain))
}

impl Package {
    /// A package by what a database tells; none without a name and a version.
    pub(super) fn new(kind: PackageKind, name: &str, version: &str) -> Option<Self> {
        let (name, version) = (word(name)?, word(version)?);
        let (architecture, licence) = (None, None);
        Some(Self { kind, name, version, architecture, licence, purl: String::new() })
    }

    /// The same with its package URL, for which the distribution's name is needed.
    pub(super) fn of_system(mut self, system: &System) -> Self {
        let name = match (self.kind, self.name.split_once('/')) {
            (PackageKind::Npm, Some((scope, name))) => format!("{}/{}", encoded(scope), encoded(name)),
            (PackageKind::Pypi, _) => encoded(&self.name.to_ascii_lowercase().replace('_', "-")),
            _ => encoded(&self.name),
        };
        let by_default = match self.kind {
            PackageKind::Deb => Some("debian"),
            PackageKind::Apk => Some("alpine"),
            PackageKind::Pypi | PackageKind::Npm => None,
        };
        let namespace = by_default.map(|default| system.id.as_deref().unwrap_or(default));
        let path = namespace.map_or(name.clone(), |namespace| format!("{namespace}/{name}"));
        self.purl = format!("pkg:{}/{path}@{}", self.kind.word(), encoded(&self.version));
        let distribution =
            namespace.zip(system.version.as_deref()).map(|(id, version)| format!("{id}-{version}"));
        let qualifiers = [("arch", self.architecture.as_ref()), ("distro", distribution.as_ref())];
        let mut separator = '?';
        for (key, value) in qualifiers {
            if let Some(value) = value {
                let _ = write!(self.purl, "{separator}{key}={}", encoded(value));
                separator = '&';
            }
        }
        self
    }
}

/// A word of a database: short, without control characters, and not empty.
pub(super) fn word(text: &str) -> Option<String> {
    let text: String = text.trim().chars().filter(|char| !char.is_control()).take(MAX_WORD).collect();
    Some(text).filter(|text| !text.is_empty())
}

/// Percent-encoded as package URLs are: all but letters, digits and `.-_~:`.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte) {
            true => out.push(char::from(byte)),
            false => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}
