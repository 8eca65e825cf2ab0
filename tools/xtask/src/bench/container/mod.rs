//! `cargo xtask bench container`: what it takes to run `/bin/true` in a container, against crun and runc with the same
//! bundle in the same run.

mod gate;
mod report;
mod runner;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::Common;
use super::carry::{self, Carried};
use super::subject::{Kind, Subject};
use crate::lab;
use report::Report;

pub use runner::run as inside;

/// Ours, as it is called in the table.
const OURS: &str = "bulkhead-oci";

/// How often, and where the figures go.
#[derive(Debug, Args)]
pub struct ContainerArgs {
    #[command(flatten)]
    common: Common,
    /// How many runs are timed, after one that is not.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=100))]
    runs: u8,
    /// Measure crun and runc alone.
    #[arg(long)]
    peers: bool,
}

/// What the runner does.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    /// Who is measured.
    subjects: Vec<Subject>,
    /// How many runs are timed.
    runs: u8,
}

/// Measures; 0 when every runtime could be.
pub fn run(args: &ContainerArgs) -> Result<u8> {
    carry::need(&["xtask"])?;
    let mut subjects = Vec::new();
    if !args.peers {
        carry::need(&[OURS])?;
        subjects.push(Subject::new(OURS, Kind::Bulkhead, PathBuf::from(lab::PLACE).join(OURS)));
    }
    for (name, program) in [("crun", "/usr/bin/crun"), ("runc", "/usr/sbin/runc")] {
        subjects.push(Subject::new(name, Kind::Firecracker, program));
    }
    let carried = Carried::new()?;
    for (name, path) in &args.common.peer {
        let file = format!("peer-{name}");
        fs::copy(path, carried.folder().join(&file))
            .with_context(|| format!("Cannot carry the peer {}", path.display()))?;
        subjects.push(Subject::new(name, Kind::Firecracker, PathBuf::from(carry::FOLDER).join(file)));
    }
    let (report, code): (Report, u8) =
        carried.run("container", &Plan { subjects, runs: args.runs }, &args.common)?;
    carry::show(&report.table(), &report, &args.common)?;
    if args.common.gate {
        let missed = gate::missed(&report);
        if !missed.is_empty() {
            bail!("A container misses what has to hold: {}", missed.join("; "));
        }
    }
    Ok(code)
}
