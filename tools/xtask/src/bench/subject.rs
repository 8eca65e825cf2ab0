//! Who is measured: a VMM, and how it is spoken to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::lab;

/// A VMM.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// What it is called in the table.
    pub name: String,
    /// How it is spoken to.
    pub kind: Kind,
    /// Its program in the lab.
    pub program: PathBuf,
}

/// How a VMM is told what to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `--no-api --config-file FILE`, and a power-off that ends it.
    Bulkhead,
    /// `--no-api --config-file FILE`.
    Firecracker,
    /// `-M microvm`, configured as its users would.
    QemuMicrovm,
}

/// Parses `--peer NAME=PATH`.
pub fn peer(text: &str) -> Result<(String, PathBuf)> {
    let (name, path) = text.split_once('=').context("a peer is given as NAME=PATH")?;
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
    if !plain {
        bail!("the peer's name {name:?} may hold letters, digits, dots and dashes");
    }
    Ok((name.to_owned(), PathBuf::from(path)))
}

impl Subject {
    /// A VMM whose program is a path in the lab, or a name on its search path.
    pub fn new(name: &str, kind: Kind, program: impl Into<PathBuf>) -> Self {
        Self { name: name.to_owned(), kind, program: program.into() }
    }

    /// Inside: puts a program that was carried in onto the lab's disk, where people have theirs: what is carried
    /// lies in a file system in memory, whose pages are dirty for ever.
    pub fn install(&mut self) -> Result<()> {
        // A path stays what it is; a name is looked for among what is carried.
        let carried = Path::new(lab::PLACE).join(&self.program);
        let (Some(name), true) = (carried.file_name(), carried.is_file()) else { return Ok(()) };
        let installed = Path::new("/usr/local/bin").join(name);
        if carried == installed {
            return Ok(());
        }
        fs::copy(&carried, &installed).with_context(|| format!("Cannot install {}", carried.display()))?;
        self.program = installed;
        Ok(())
    }

    /// Inside: what it says of itself; asking brings the program and its libraries in from the lab's disk.
    pub fn version(&self) -> String {
        let output = Command::new(&self.program).arg("--version").stdin(Stdio::null()).output();
        let said =
            output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        said.lines().next().unwrap_or("says no version").to_owned()
    }
}
