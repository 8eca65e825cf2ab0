//! The databases of package managers: which files they are and what they say.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::package::{Package, PackageKind, word};

/// The largest file that is read as one, in bytes.
pub(super) const MAX_DATABASE: u64 = 64 << 20;

/// How many fields one package may have.
const MAX_FIELDS: usize = 100;

/// What a file in a root is to this module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Database {
    /// `os-release(5)`.
    OsRelease,
    /// dpkg's list of packages, of which some may be removed.
    DpkgStatus,
    /// One package, as images without dpkg have it (`var/lib/dpkg/status.d`).
    DpkgOne,
    /// apk's.
    Apk,
    /// What pip and others leave of a package.
    Python,
    /// A package of npm's, below `node_modules`.
    Npm,
    /// Not read; the words say what it is.
    Unread(&'static str),
}

impl Database {
    /// What a path, relative to the root, names.
    pub(super) fn at(path: &[u8]) -> Option<Self> {
        const RPM: Database = Database::Unread("the packages of its rpm database");
        let path = std::str::from_utf8(path).ok()?;
        let parts: Vec<&str> = path.split('/').collect();
        match &parts[..] {
            ["etc" | "lib", "os-release"] | ["usr", "lib", "os-release"] => Some(Self::OsRelease),
            ["var", "lib", "dpkg", "status"] => Some(Self::DpkgStatus),
            ["var", "lib", "dpkg", "status.d", name] if !name.ends_with(".md5sums") => Some(Self::DpkgOne),
            ["lib" | "usr", .., "apk", "db", "installed"] => Some(Self::Apk),
            ["var", "lib", "rpm", _] | ["usr", "lib", "sysimage", "rpm", _] => Some(RPM),
            [.., folder, "METADATA"] if folder.ends_with(".dist-info") => Some(Self::Python),
            [.., folder, "PKG-INFO"] if folder.ends_with(".egg-info") => Some(Self::Python),
            [.., "node_modules", scope, _, "package.json"] if scope.starts_with('@') => Some(Self::Npm),
            [.., "node_modules", _, "package.json"] => Some(Self::Npm),
            _ => None,
        }
    }

    /// The packages that it tells of.
    pub(super) fn packages(self, text: &str) -> Vec<Package> {
        match self {
            Self::DpkgStatus => stanzas(text).filter_map(|fields| dpkg(&fields, true)).collect(),
            Self::DpkgOne => stanzas(text).filter_map(|fields| dpkg(&fields, false)).collect(),
            Self::Apk => stanzas(text).filter_map(|fields| apk(&fields)).collect(),
            Self::Python => stanzas(text).take(1).filter_map(|fields| python(&fields)).collect(),
            Self::Npm => npm(text).into_iter().collect(),
            Self::OsRelease | Self::Unread(_) => Vec::new(),
        }
    }
}

/// `Name: value` lines between empty lines, as in electronic mail; lines that go on are left out.
fn stanzas(text: &str) -> impl Iterator<Item = BTreeMap<&str, &str>> {
    let mut lines = text.lines();
    std::iter::from_fn(move || {
        let mut fields = BTreeMap::new();
        let mut any = false;
        for line in lines.by_ref() {
            if line.trim().is_empty() {
                if any {
                    return Some(fields);
                }
                continue;
            }
            any = true;
            if let Some((name, value)) = line.split_once(':').filter(|_| !line.starts_with([' ', '\t']))
                && fields.len() < MAX_FIELDS
            {
                fields.entry(name).or_insert(value.trim());
            }
        }
        any.then_some(fields)
    })
}

fn dpkg(fields: &BTreeMap<&str, &str>, has_status: bool) -> Option<Package> {
    // `deb-status`: what is wanted, an error's flag, the state.
    let installed = fields.get("Status").is_some_and(|status| status.split(' ').nth(2) == Some("installed"));
    if has_status && !installed {
        return None;
    }
    let mut package = Package::new(PackageKind::Deb, fields.get("Package")?, fields.get("Version")?)?;
    package.architecture = fields.get("Architecture").and_then(|text| word(text));
    Some(package)
}

fn apk(fields: &BTreeMap<&str, &str>) -> Option<Package> {
    let mut package = Package::new(PackageKind::Apk, fields.get("P")?, fields.get("V")?)?;
    package.architecture = fields.get("A").and_then(|text| word(text));
    package.licence = fields.get("L").and_then(|text| word(text));
    Some(package)
}

fn python(fields: &BTreeMap<&str, &str>) -> Option<Package> {
    let mut package = Package::new(PackageKind::Pypi, fields.get("Name")?, fields.get("Version")?)?;
    let licence = fields.get("License-Expression").or(fields.get("License"));
    package.licence = licence.and_then(|text| word(text)).filter(|licence| licence != "UNKNOWN");
    Some(package)
}

#[derive(Deserialize)]
struct NpmPackage {
    name: String,
    version: String,
    #[serde(default)]
    license: serde_json::Value,
}

fn npm(text: &str) -> Option<Package> {
    let parsed: NpmPackage = serde_json::from_str(text).ok()?;
    let mut package = Package::new(PackageKind::Npm, &parsed.name, &parsed.version)?;
    package.licence = parsed.license.as_str().and_then(word);
    Some(package)
}
