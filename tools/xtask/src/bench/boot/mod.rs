//! `cargo xtask bench boot`: from exec to the guest's first process.

mod gate;
pub mod plan;
mod report;
mod runner;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::Common;
use super::carry::{self, Carried};
use super::guest::{self, Guest};
use plan::Plan;
use report::Report;

pub use runner::run as inside;

/// Against whom, and where the figures go.
#[derive(Debug, Args)]
pub struct BootArgs {
    #[command(flatten)]
    common: Common,
    /// How many starts are timed, after a first one that is shown apart.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=50))]
    runs: u8,
}

/// Measures; 0 when every VMM could be.
pub fn run(args: &BootArgs) -> Result<u8> {
    carry::need(&["vmlinux", "bulkhead-vmm", "xtask"])?;
    let carried = Carried::new()?;
    fs::write(carried.folder().join("initramfs"), guest::initramfs(&plan::init_script())?)
        .context("Cannot write the guest's initramfs")?;
    let plan = Plan {
        subjects: carried.subjects(&args.common.peer)?,
        runs: args.runs,
        guest: Guest {
            kernel: PathBuf::from("/bulkhead/vmlinux"),
            initramfs: Path::new(carry::FOLDER).join("initramfs"),
            line: plan::KERNEL_LINE.to_owned(),
            memory: plan::MEMORY,
            vcpus: 1,
        },
    };
    let (report, code): (Report, u8) = carried.run("boot", &plan, &args.common)?;
    carry::show(&report.table(), &report, &args.common)?;
    if args.common.gate {
        let missed = gate::missed(&report);
        if !missed.is_empty() {
            bail!("The start misses what has to hold: {}", missed.join("; "));
        }
    }
    Ok(code)
}
