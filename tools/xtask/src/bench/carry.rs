//! A bench's way into the lab and back: a folder that is carried in, a plan that the half inside reads, figures
//! that come out.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use super::Common;
use super::subject::{Kind, Subject};
use crate::lab::{self, LabArgs};
use crate::workspace;

/// Where the carried folder is in the lab.
pub const FOLDER: &str = "/bulkhead/bench";
/// What the half inside is to do, in [`FOLDER`].
const PLAN: &str = "plan.json";
/// The figures, in the folder that comes back.
const FIGURES: &str = "bench.json";

/// The lab's memory in MiB, when a bench does not say.
const MEMORY: u32 = 6144;

/// A folder that is carried to [`FOLDER`], and the lab that it is carried into.
#[derive(Debug)]
pub struct Carried {
    temporary: TempDir,
    memory: u32,
}

impl Carried {
    /// An empty one.
    pub fn new() -> Result<Self> {
        let temporary = tempfile::tempdir().context("Cannot make a temporary folder")?;
        fs::create_dir(temporary.path().join("bench")).context("Cannot make the bench's folder")?;
        Ok(Self { temporary, memory: MEMORY })
    }

    /// Into a lab with so much memory, in MiB.
    pub fn memory(self, memory: u32) -> Self {
        Self { memory, ..self }
    }

    /// Where files are put that the half inside needs.
    pub fn folder(&self) -> PathBuf {
        self.temporary.path().join("bench")
    }

    /// Copies the peers in; gives ours, QEMU microvm and them as the lab will find them.
    pub fn subjects(&self, peers: &[(String, PathBuf)]) -> Result<Vec<Subject>> {
        let mut subjects = vec![
            Subject::new("bulkhead-vmm", Kind::Bulkhead, "bulkhead-vmm"),
            Subject::new("qemu-microvm", Kind::QemuMicrovm, "qemu-system-x86_64"),
        ];
        for (name, path) in peers {
            let file = format!("peer-{name}");
            fs::copy(path, self.folder().join(&file))
                .with_context(|| format!("Cannot carry the peer {}", path.display()))?;
            subjects.push(Subject::new(name, Kind::Firecracker, Path::new(FOLDER).join(file)));
        }
        Ok(subjects)
    }

    /// Starts a lab with this folder and `bench-inside BENCH` in it; gives the figures and its exit status.
    pub fn run<F: DeserializeOwned>(
        &self,
        bench: &str,
        plan: &impl Serialize,
        common: &Common,
    ) -> Result<(F, u8)> {
        fs::write(self.folder().join(PLAN), serde_json::to_vec(plan)?)
            .context("Cannot write the bench's plan")?;
        let out = self.temporary.path().join("out");
        let agent = Path::new(lab::PLACE).join(lab::AGENT);
        let code = lab::run(&LabArgs {
            // Of several processors under the instruction clock, one spins through its whole slice while it waits for
            // another (QEMU 7.2), so that only counts are worth anything.
            icount: common.smp == 1,
            smp: common.smp,
            memory: self.memory,
            timeout: common.timeout,
            carry: vec![self.folder()],
            out: Some(out.clone()),
            with: Vec::new(),
            shell: false,
            in_place: false,
            verbose: false,
            command: vec![agent.into_os_string(), OsString::from("bench-inside"), OsString::from(bench)],
        })?;
        let text = fs::read(out.join(FIGURES)).map_err(|_| NoFigures { code })?;
        Ok((serde_json::from_slice(&text).context("Cannot understand the bench's figures")?, code))
    }
}

/// A bench that ended without figures; its status is xtask's, so that who called may try again after 124 (its time was
/// up).
#[derive(Debug)]
pub struct NoFigures {
    /// The status of its half inside the lab.
    pub code: u8,
}

impl std::fmt::Display for NoFigures {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "The bench gave no figures and ended with status {}", self.code)
    }
}

impl std::error::Error for NoFigures {}

/// Fails unless these are built.
pub fn need(products: &[&str]) -> Result<()> {
    let folder = workspace::product_dir()?;
    match products.iter().find(|name| !folder.join(name).is_file()) {
        Some(name) => bail!("There is no {}; run `cargo xtask build`", folder.join(name).display()),
        None => Ok(()),
    }
}

/// Whether this is built.
pub fn has(product: &str) -> Result<bool> {
    Ok(workspace::product_dir()?.join(product).is_file())
}

/// Prints the table and, when asked to, writes the figures as JSON.
pub fn show(table: &str, figures: &impl Serialize, common: &Common) -> Result<()> {
    print!("{table}");
    let Some(file) = &common.json else { return Ok(()) };
    fs::write(file, serde_json::to_vec_pretty(figures)?)
        .with_context(|| format!("Cannot write {}", file.display()))
}

/// Inside: the plan.
pub fn plan<P: DeserializeOwned>() -> Result<P> {
    let plan = fs::read(Path::new(FOLDER).join(PLAN)).context("Cannot read the bench's plan")?;
    serde_json::from_slice(&plan).context("Cannot understand the bench's plan")
}

/// Inside: leaves the figures where they are copied back from.
pub fn give(figures: &impl Serialize) -> Result<()> {
    fs::write(Path::new(lab::OUT).join(FIGURES), serde_json::to_vec(figures)?)
        .context("Cannot write the figures")
}
