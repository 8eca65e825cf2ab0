//! Debian's cloud kernel package: the lab's kernel and the guests'.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use crate::{host, workspace};

/// The package that always depends on the newest kernel.
const META_PACKAGE: &str = "linux-image-cloud-amd64";

/// How long a downloaded package is taken for the newest without asking apt (which takes a second).
const FRESH: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The real package behind the meta package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelPackage {
    /// Such as `linux-image-6.1.0-56-cloud-amd64`.
    pub name: String,
    /// Such as `6.1.192-2`.
    pub version: String,
}

impl KernelPackage {
    /// The newest kernel: a cached one within its week (so that a week's runs compare), or what apt
    /// offers, or, without package lists, any that is cached.
    pub fn newest() -> Result<Self> {
        let cached = newest_cached(&cache()?);
        if let Some((modified, package)) = &cached
            && modified.elapsed().is_ok_and(|age| age < FRESH)
        {
            return Ok(package.clone());
        }
        if let Some(package) = offered().or(cached.map(|(_, package)| package)) {
            return Ok(package);
        }
        host::apt_update()?;
        offered().with_context(|| format!("Debian's archive offers no package {META_PACKAGE}"))
    }

    /// The package's file, downloaded once a version.
    pub fn fetch(&self) -> Result<PathBuf> {
        let folder = cache()?;
        let file = folder.join(self.file_name());
        if file.is_file() {
            return Ok(file);
        }
        fs::create_dir_all(&folder).with_context(|| format!("Cannot make {}", folder.display()))?;
        let temporary = tempfile::tempdir_in(&folder).context("Cannot make a temporary folder")?;
        let downloaded = host::download(&self.name, &self.version, temporary.path())?;
        fs::File::open(&downloaded)?.set_modified(SystemTime::now())?;
        fs::rename(&downloaded, &file).with_context(|| format!("Cannot keep {}", file.display()))?;
        Ok(file)
    }

    /// The release that the kernel reports, such as `6.1.0-56-cloud-amd64`.
    pub fn release(&self) -> &str {
        self.name.strip_prefix("linux-image-").unwrap_or(&self.name)
    }

    fn file_name(&self) -> String {
        format!("{}_{}_amd64.deb", self.name, self.version.replace(':', "%3a"))
    }
}

fn cache() -> Result<PathBuf> {
    Ok(workspace::cache_dir()?.join("kernel"))
}

/// What the package lists name now.
fn offered() -> Option<KernelPackage> {
    let shown =
        host::output(Command::new("apt-cache").args(["show", "--no-all-versions", META_PACKAGE])).ok()?;
    parse_meta(&String::from_utf8_lossy(&shown))
}

fn parse_meta(shown: &str) -> Option<KernelPackage> {
    let depends = shown.lines().find_map(|line| line.strip_prefix("Depends: "))?;
    let first = depends.split(',').next()?.trim();
    let name = first.split_whitespace().next()?.to_owned();
    // The meta package depends on exactly its own version, or names none and shares it.
    let version = match first.split_once("(= ") {
        Some((_, rest)) => rest.trim_end_matches(')').to_owned(),
        None => shown.lines().find_map(|line| line.strip_prefix("Version: "))?.to_owned(),
    };
    Some(KernelPackage { name, version })
}

fn newest_cached(folder: &Path) -> Option<(SystemTime, KernelPackage)> {
    let newest = fs::read_dir(folder).ok()?.filter_map(Result::ok).filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let (package, rest) = name.strip_suffix("_amd64.deb")?.split_once('_')?;
        let modified = entry.metadata().ok()?.modified().ok()?;
        Some((modified, KernelPackage { name: package.to_owned(), version: rest.replace("%3a", ":") }))
    });
    newest.max_by_key(|(modified, _)| *modified)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meta_package_names_the_real_one() {
        let shown = "Package: linux-image-cloud-amd64\nVersion: 6.1.192-2\nDepends: linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)\n";
        let package = parse_meta(shown).unwrap();
        assert_eq!(package.file_name(), "linux-image-6.1.0-56-cloud-amd64_6.1.192-2_amd64.deb");
        assert_eq!(package.release(), "6.1.0-56-cloud-amd64");
        assert_eq!(parse_meta("Package: x\n"), None);
    }
}
