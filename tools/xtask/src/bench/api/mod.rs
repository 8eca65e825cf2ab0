//! `cargo xtask bench api`: requests a second and system calls a request of the socket that a VMM is driven by.

mod client;
mod gate;
mod report;
mod runner;

use anyhow::{Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::Common;
use super::carry::{self, Carried};
use super::subject::Subject;
use report::Report;

pub use runner::run as inside;

/// Against whom, how many, and where the figures go.
#[derive(Debug, Args)]
pub struct ApiArgs {
    #[command(flatten)]
    common: Common,
    /// How many requests of each kind are timed.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    requests: u32,
}

/// What the runner does.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    /// Who is measured.
    subjects: Vec<Subject>,
    /// How many requests of each kind are timed.
    requests: u32,
}

/// Measures; 0 when every VMM could be.
pub fn run(args: &ApiArgs) -> Result<u8> {
    carry::need(&["bulkhead-vmm", "xtask"])?;
    let carried = Carried::new()?;
    let plan = Plan { subjects: carried.subjects(&args.common.peer)?, requests: args.requests };
    let (report, code): (Report, u8) = carried.run("api", &plan, &args.common)?;
    carry::show(&report.table(), &report, &args.common)?;
    if args.common.gate {
        let missed = gate::missed(&report);
        if !missed.is_empty() {
            bail!("The API misses what has to hold: {}", missed.join("; "));
        }
    }
    Ok(code)
}
