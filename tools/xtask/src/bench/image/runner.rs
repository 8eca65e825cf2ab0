//! The half inside the lab: each way in turn, with nothing left of the one before.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::super::outcome::{self, Outcome};
use super::super::{carry, process};
use super::report::{Figures, Report};
use super::way::{FOLDER, WAY, WAYS, WORK, Way};
use super::{LAYOUT, Plan};
use crate::workspace;

/// Measures what the plan names.
pub fn run() -> Result<u8> {
    let plan: Plan = carry::plan()?;
    let report = measure(Path::new(carry::FOLDER), plan.only.as_deref());
    carry::give(&report)?;
    Ok(outcome::status(&report.results))
}

/// The same on this machine, on the disk that has the builds.
pub fn here(layout: &Path, only: Option<&str>) -> Result<Report> {
    // buildah calls an image by its path, and takes no capital letters in names.
    let prefix = format!("bench-image-{}", std::process::id());
    let folder = tempfile::Builder::new().prefix(&prefix).rand_bytes(0).tempdir_in(workspace::target_dir()?);
    let folder = folder.context("Cannot make a working folder")?;
    symlink(layout, folder.path().join(LAYOUT)).context("Cannot link the layout")?;
    Ok(measure(folder.path(), only))
}

fn measure(folder: &Path, only: Option<&str>) -> Report {
    let mut results = Vec::new();
    for way in WAYS.iter().filter(|way| only.is_none_or(|part| way.name.contains(part))) {
        let begin = process::now();
        results.push(Outcome::new(way.name, String::new(), go(way, folder)));
        eprintln!("bench: {}: {:.0} s of the clock", way.name, process::now() - begin);
    }
    Report { host: outcome::host(), results }
}

fn go(way: &Way, folder: &Path) -> Result<Figures> {
    let products = workspace::product_dir()?;
    let path = format!("{}:{}", products.display(), env::var("PATH").unwrap_or_default());
    let program = env::current_exe().context("Cannot find this program")?;
    let output = Command::new(program)
        .args(["bench-inside", "image-way"])
        .env(WAY, way.name)
        .env(FOLDER, folder)
        .env("PATH", path)
        .stdin(Stdio::null())
        .output()
        .context("Cannot start this program once more")?;
    let work = folder.join(WORK);
    if work.exists() {
        fs::remove_dir_all(&work).context("Cannot remove the working folder")?;
    }
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).context("Cannot understand the figures of a way")
}
