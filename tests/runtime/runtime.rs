//! A runtime, by its command line.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A runtime that is tried.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// Its name in the table.
    pub name: String,
    /// Its program.
    pub path: PathBuf,
}

impl Runtime {
    /// From `NAME=PATH`.
    pub fn parse(text: &str) -> Result<Self> {
        let (name, path) = text.split_once('=').context("A runtime is given as NAME=PATH")?;
        ensure!(Path::new(path).exists(), "There is no {path}");
        Ok(Self { name: name.to_owned(), path: PathBuf::from(path) })
    }

    /// A command that keeps its state beneath `state`.
    pub fn command(&self, state: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command.arg("--root").arg(state).args(arguments);
        command
    }

    /// What it says of its version, in a line.
    pub fn version(&self) -> String {
        let output = Command::new(&self.path).arg("--version").output();
        let text =
            output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        text.lines().next().unwrap_or("?").to_owned()
    }
}
