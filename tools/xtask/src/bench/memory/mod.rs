//! `cargo xtask bench memory`: what a VMM takes beside its guest's memory, and fifty machines at once from one image.

mod daemon;
mod fleet;
mod gate;
mod left;
mod plan;
mod report;
mod runner;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::Common;
use super::carry::{self, Carried};
use super::guest::{self, Guest};
use crate::host;
use plan::Plan;
use report::Report;

pub use runner::run as inside;

/// Against whom, how many, and where the figures go.
#[derive(Debug, Args)]
pub struct MemoryArgs {
    #[command(flatten)]
    common: Common,
    /// How many machines there are at once.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(2..=64))]
    machines: u16,
    /// Measure only this one. `bulkhead run` is measured when it is named, and with several processors.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

/// Measures; 0 when every VMM could be.
pub fn run(args: &MemoryArgs) -> Result<u8> {
    carry::need(&["vmlinux", "initramfs", "bulkhead-vmm", "bulkhead", "bulkhead-image", "xtask"])?;
    host::ensure(&[host::BUSYBOX])?;
    let busybox = host::find(host::BUSYBOX.program).context("busybox is not installed")?;
    let carried = Carried::new()?.memory(plan::LAB_MEMORY);
    let initramfs = guest::initramfs(&super::boot::plan::init_script())?;
    fs::write(carried.folder().join("initramfs"), initramfs).context("Cannot write the guest's initramfs")?;
    // The image of the daemon's machines.
    let bin = carried.folder().join(plan::ROOT).join("bin");
    fs::create_dir_all(&bin).context("Cannot make the image's folder")?;
    fs::copy(&busybox, bin.join("busybox")).with_context(|| format!("Cannot copy {}", busybox.display()))?;
    let wanted = |name: &str| match args.only.as_deref() {
        Some(only) => only == name,
        // Fifty of the daemon's were not up after a quarter of an hour of the instruction clock's lab.
        None => name != plan::DAEMON || args.common.smp > 1,
    };
    let mut subjects = carried.subjects(&args.common.peer)?;
    subjects.retain(|subject| wanted(&subject.name));
    if subjects.is_empty() && !wanted(plan::DAEMON) {
        bail!("There is no {} to measure", args.only.as_deref().unwrap_or_default());
    }
    let plan = Plan {
        subjects,
        daemon: wanted(plan::DAEMON),
        machines: args.machines,
        guest: Guest {
            kernel: PathBuf::from("/bulkhead/vmlinux"),
            initramfs: Path::new(carry::FOLDER).join("initramfs"),
            line: super::boot::plan::KERNEL_LINE.to_owned(),
            memory: plan::MEMORY,
            vcpus: 1,
            drives: Vec::new(),
        },
    };
    let (mut report, code): (Report, u8) = carried.run("memory", &plan, &args.common)?;
    report.steady = args.common.smp == 1;
    carry::show(&report.table(), &report, &args.common)?;
    if args.common.gate {
        let missed = gate::missed(&report, wanted);
        if !missed.is_empty() {
            bail!("Memory misses what has to hold: {}", missed.join("; "));
        }
    }
    Ok(code)
}
