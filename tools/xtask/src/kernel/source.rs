//! Debian's kernel sources: fetched by their package's name, configured, compiled; the same bytes every time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::options::Options;
use crate::host;

/// The sources' package.
const PACKAGE: &str = "linux-source-6.1";

/// What would otherwise tell when, where and by whom a kernel was built.
pub const VARIABLES: [(&str, &str); 6] = [
    ("KBUILD_BUILD_TIMESTAMP", "Thu Jan  1 00:00:00 UTC 1970"),
    ("KBUILD_BUILD_VERSION", "1"),
    ("KBUILD_BUILD_USER", "bulkhead"),
    ("KBUILD_BUILD_HOST", "bulkhead"),
    ("LOCALVERSION", "-bulkhead"),
    ("LC_ALL", "C"),
];

/// The version that Debian's archive offers.
pub fn newest() -> Result<String> {
    let offered = || {
        let shown =
            host::output(Command::new("apt-cache").args(["show", "--no-all-versions", PACKAGE])).ok()?;
        let shown = String::from_utf8_lossy(&shown).into_owned();
        shown.lines().find_map(|line| line.strip_prefix("Version: ")).map(str::to_owned)
    };
    if let Some(version) = offered() {
        return Ok(version);
    }
    host::apt_update()?;
    offered().with_context(|| format!("Debian's archive offers no package {PACKAGE}"))
}

/// Unpacks the sources into `place`; gives their root.
pub fn unpack(version: &str, place: &Path) -> Result<PathBuf> {
    let package = place.join("package");
    fs::create_dir(&package).context("Cannot make a temporary folder")?;
    let deb = host::download(PACKAGE, version, &package)?;
    host::run_quietly(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&package))?;
    let archive = package.join(format!("usr/src/{PACKAGE}.tar.xz"));
    host::run_quietly(Command::new("tar").arg("-xJf").arg(&archive).arg("-C").arg(place))?;
    fs::remove_dir_all(&package).context("Cannot remove the sources' package")?;
    Ok(place.join(PACKAGE))
}

/// Configures them: what is not named is off. Gives the whole configuration.
pub fn configure(tree: &Path, options: &Options) -> Result<String> {
    let fragment = tree.join("small.config");
    fs::write(&fragment, options.fragment()).context("Cannot write the options")?;
    host::run_quietly(make(tree).arg("allnoconfig").env("KCONFIG_ALLCONFIG", &fragment))?;
    fs::read_to_string(tree.join(".config")).context("Cannot read the configuration")
}

/// Compiles them; gives the kernel without its symbols, as the kernel's own build strips what it compresses.
pub fn compile(tree: &Path, jobs: u8) -> Result<PathBuf> {
    host::run_quietly(make(tree).arg(format!("-j{jobs}")).arg("vmlinux"))?;
    let kernel = tree.join("vmlinux.stripped");
    host::run_quietly(
        Command::new("objcopy")
            .args(["--remove-section", ".comment", "--strip-all"])
            .arg(tree.join("vmlinux"))
            .arg(&kernel),
    )?;
    Ok(kernel)
}

fn make(tree: &Path) -> Command {
    let mut make = Command::new("nice");
    make.args(["-n", "19", "make", "--silent"]).current_dir(tree);
    // Nothing of ours goes into the kernel: neither cargo's words for make nor flags for a compiler.
    for name in
        ["MAKEFLAGS", "MFLAGS", "CARGO_MAKEFLAGS", "CFLAGS", "KCFLAGS", "KCPPFLAGS", "LDFLAGS", "ARCH"]
    {
        make.env_remove(name);
    }
    make.envs(VARIABLES);
    make
}
