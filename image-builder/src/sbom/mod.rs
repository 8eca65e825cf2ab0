//! Says of what software a root consists (a software bill of materials), as far as package managers wrote it
//! into the root: dpkg, apk, Python's and npm's packages. The databases are data of an image and may be hostile:
//! they are bounded, and nothing in them is more than a word.

mod cyclonedx;
mod databases;
mod package;
mod spdx;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::build::{ImageError, assembled};
use crate::digest::Sha256;
use crate::limits::Limits;
use crate::manifest::{ManifestError, read_manifest};
use crate::oci::layer::Assembly;
use crate::root_reader::{REGULAR, RootReadError, RootReader};
use crate::source::Source;
use crate::tree::{InodeId, Kind, ROOT};

use databases::{Database, MAX_DATABASE};
pub use package::{Package, PackageKind};

/// How many packages are told of.
const MAX_PACKAGES: usize = 200_000;

/// How many bytes of databases are read in all.
const MAX_BYTES: u64 = 1 << 30;

/// Why no list can be made.
#[derive(Debug, Error)]
pub enum SbomError {
    /// The source.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The built image.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Its root.
    #[error(transparent)]
    Root(#[from] RootReadError),
    /// A database.
    #[error("Cannot read {0:?} of the image")]
    Read(String, #[source] io::Error),
    /// A database over the limit.
    #[error("{0:?} of the image is larger than the {1} bytes that are read of a package database")]
    Large(String, u64),
    /// More than is taken.
    #[error("The image has more than {0} packages")]
    TooMany(usize),
    /// The document.
    #[error("Cannot write the list of packages to {0}")]
    Write(PathBuf, #[source] io::Error),
    /// The document.
    #[error("Cannot put the list of packages into JSON")]
    Json(#[source] serde_json::Error),
}

/// In what words the list is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SbomFormat {
    /// SPDX 2.3.
    #[default]
    SpdxJson,
    /// CycloneDX 1.5.
    CyclonedxJson,
}

/// Where a list goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SbomSpec {
    /// The file to write.
    pub path: PathBuf,
    /// In what words.
    pub format: SbomFormat,
}

/// Of what software a root consists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// What the root is called.
    pub name: String,
    /// In order of kind, name, version and architecture.
    pub packages: BTreeSet<Package>,
    /// Databases that are there and are not read, in words for people.
    pub unread: BTreeSet<&'static str>,
}

impl Inventory {
    /// What a built image consists of.
    pub fn of_image(path: &Path, limits: &Limits) -> Result<Self, SbomError> {
        let manifest = read_manifest(path)?;
        let part = manifest.parts.get("root").map(|part| (part.offset, part.size)).unwrap_or_default();
        let file = crate::oci::open_file(path).map_err(RootReadError::Read)?;
        let reader = RootReader::open(file, part.0, part.1)?;
        let mut taking = Taking::new(manifest.name);
        reader.walk(limits, |name, inode| {
            let Some(database) = Database::at(name).filter(|_| inode.is(REGULAR)) else { return Ok(()) };
            taking.take(name, database, inode.size, |bytes| Ok(reader.read(inode, 0, bytes).map(drop)?))
        })?;
        Ok(taking.finish())
    }

    /// What a source consists of, which is taken in as if to build it. `scratch` is a folder for temporary files
    /// without a name, `time` in seconds since 1970.
    pub fn of_source(source: &Source, scratch: &Path, limits: &Limits, time: u64) -> Result<Self, SbomError> {
        let assembly = assembled(source, scratch, limits, time)?;
        Self::of_assembly(source.name(), &assembly)
    }

    pub(crate) fn of_assembly(name: String, assembly: &Assembly<'_>) -> Result<Self, SbomError> {
        let mut taking = Taking::new(name);
        let mut todo: Vec<(Vec<u8>, InodeId)> = vec![(Vec::new(), ROOT)];
        while let Some((path, id)) = todo.pop() {
            match &assembly.tree.inode(id).kind {
                Kind::Directory(entries) => {
                    let between: &[u8] = if path.is_empty() { b"" } else { b"/" };
                    let below = |name: &[u8]| [&path, between, name].concat();
                    todo.extend(entries.iter().rev().map(|(name, entry)| (below(name), entry.inode)));
                }
                Kind::File(body) => {
                    let Some(database) = Database::at(&path) else { continue };
                    let shown = String::from_utf8_lossy(&path).into_owned();
                    taking.take(&path, database, body.size, |bytes| {
                        let read = assembly.bodies.read(body, 0, bytes);
                        read.map_err(|error| SbomError::Read(shown.clone(), error))
                    })?;
                }
                _ => {}
            }
        }
        Ok(taking.finish())
    }

    /// The list as a document. `time` is what it tells as its time, in seconds since 1970.
    pub fn document(&self, format: SbomFormat, time: u64) -> Result<String, SbomError> {
        let value = match format {
            SbomFormat::SpdxJson => spdx::document(self, time),
            SbomFormat::CyclonedxJson => cyclonedx::document(self, time),
        };
        serde_json::to_string_pretty(&value).map(|text| text + "\n").map_err(SbomError::Json)
    }

    /// Writes the list to a file, which appears whole or not at all.
    pub fn write(&self, spec: &SbomSpec, time: u64) -> Result<(), SbomError> {
        let text = self.document(spec.format, time)?;
        crate::output::write_file(&spec.path, text.as_bytes())
            .map_err(|error| SbomError::Write(spec.path.clone(), error))
    }

    /// An id that differs where the list differs: a UUID of version 8 (RFC 9562).
    fn identity(&self) -> String {
        let mut digest = Sha256::new();
        digest.update(&self.name);
        for package in &self.packages {
            // A separator that is in no word: control characters are left out when words are read.
            digest.update(format!("\n{package:?}"));
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest.finalize()[..16]);
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex = hex::encode(bytes);
        [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
    }
}

/// An inventory while databases are read.
struct Taking {
    inventory: Inventory,
    system: package::System,
    bytes: u64,
}

impl Taking {
    fn new(name: String) -> Self {
        let inventory = Inventory { name, ..Inventory::default() };
        Self { inventory, system: package::System::default(), bytes: 0 }
    }

    fn take(
        &mut self,
        path: &[u8],
        database: Database,
        size: u64,
        read: impl FnOnce(&mut [u8]) -> Result<(), SbomError>,
    ) -> Result<(), SbomError> {
        if let Database::Unread(words) = database {
            self.inventory.unread.insert(words);
            return Ok(());
        }
        self.bytes = self.bytes.saturating_add(size);
        if size > MAX_DATABASE || self.bytes > MAX_BYTES {
            return Err(SbomError::Large(String::from_utf8_lossy(path).into_owned(), MAX_DATABASE));
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        read(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        if let Database::OsRelease = database {
            self.system = package::System::read(&text);
            return Ok(());
        }
        for package in database.packages(&text) {
            self.inventory.packages.insert(package);
            if self.inventory.packages.len() > MAX_PACKAGES {
                return Err(SbomError::TooMany(MAX_PACKAGES));
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Inventory {
        let packages = std::mem::take(&mut self.inventory.packages);
        let named = packages.into_iter().map(|package| package.of_system(&self.system));
        self.inventory.packages = named.collect();
        self.inventory
    }
}

/// A time in the words of RFC 3339.
fn timestamp(seconds: u64) -> String {
    // Days to years, months and days, with years from March to February so that leap days come last.
    let days = seconds.min(253_402_300_799) / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day + 2) / 153;
    let (month, day) =
        (if shifted < 10 { shifted + 3 } else { shifted - 9 }, day - (153 * shifted + 2) / 5 + 1);
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
#[path = "sbom_tests.rs"]
mod tests;
