//! `cargo xtask bench boot`: from exec to the guest's first process.

mod gate;
pub mod plan;
mod report;
mod runner;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::Common;
use super::carry::{self, Carried};
use super::guest::{self, Guest};
use crate::{lab, workspace};
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
    carry::need(&["vmlinux", "kernel.json", "bulkhead-vmm", "xtask"])?;
    let carried = Carried::new()?;
    fs::write(carried.folder().join("initramfs"), guest::initramfs(&plan::init_script())?)
        .context("Cannot write the guest's initramfs")?;
    let mut guests = vec![guest("vmlinux", "kernel.json", args.common.smp)?];
    if carry::has("vmlinux-small")? {
        guests.push(guest("vmlinux-small", "kernel-small.json", args.common.smp)?);
    } else {
        eprintln!("bench: without the small kernel, which is not built (cargo xtask kernel)");
    }
    let plan = Plan { subjects: carried.subjects(&args.common.peer)?, runs: args.runs, guests };
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

/// The guest with a kernel of `target/bulkhead`, by the release that its record names.
fn guest(kernel: &str, record: &str, vcpus: u8) -> Result<(String, Guest)> {
    let record = workspace::product_dir()?.join(record);
    let text = fs::read(&record).with_context(|| format!("Cannot read {}", record.display()))?;
    let text: serde_json::Value =
        serde_json::from_slice(&text).context("Cannot understand the kernel's record")?;
    let release = text["version"].as_str().context("The kernel's record names no release")?.to_owned();
    let guest = Guest {
        kernel: Path::new(lab::PLACE).join(kernel),
        initramfs: Path::new(carry::FOLDER).join("initramfs"),
        line: plan::KERNEL_LINE.to_owned(),
        memory: plan::MEMORY,
        vcpus,
        drives: Vec::new(),
    };
    Ok((release, guest))
}
