//! `cargo xtask bench net`: TCP both ways, and requests that are answered, through a tap on a bridge.

mod gate;
mod link;
mod load;
mod plan;
mod report;
mod runner;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::Common;
use super::carry::{self, Carried};
use super::guest::Guest;
use super::subject::{Kind, Subject};
use crate::{cpio, host, workspace};
use plan::Plan;
use report::Report;

pub use load::LoadArgs;
pub use runner::run as inside;

/// Against whom, how much, and where the figures go.
#[derive(Debug, Args)]
pub struct NetArgs {
    #[command(flatten)]
    common: Common,
    /// How many MiB are sent each way.
    #[arg(long, value_name = "MIB", default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=4096))]
    mib: u64,
    /// How many requests are made.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    requests: u64,
    /// Only VMMs whose name holds this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

/// Measures; 0 when every VMM could be.
pub fn run(args: &NetArgs) -> Result<u8> {
    carry::need(&["vmlinux", "initramfs", "bulkhead-vmm", "xtask"])?;
    let carried = Carried::new()?;
    fs::write(carried.folder().join("initramfs"), initramfs()?)
        .context("Cannot write the guest's initramfs")?;
    let mut subjects = carried.subjects(&args.common.peer)?;
    let vhost = |subject: &Subject| {
        let name = format!("{} vhost", subject.name);
        (subject.kind != Kind::Firecracker).then(|| Subject::new(&name, subject.kind, &subject.program))
    };
    let by_kernel: Vec<Subject> = subjects.iter().filter_map(vhost).collect();
    let vhost = by_kernel.iter().map(|subject| subject.name.clone()).collect();
    subjects.extend(by_kernel);
    if let Some(only) = &args.only {
        subjects.retain(|subject| subject.name.contains(only.as_str()));
    }
    let plan = Plan {
        subjects,
        vhost,
        bytes: args.mib << 20,
        requests: args.requests,
        guest: Guest {
            kernel: PathBuf::from("/bulkhead/vmlinux"),
            initramfs: Path::new(carry::FOLDER).join("initramfs"),
            line: super::boot::plan::KERNEL_LINE.to_owned(),
            memory: plan::MEMORY,
            vcpus: 1,
            drives: Vec::new(),
        },
    };
    let (report, code): (Report, u8) = carried.run("net", &plan, &args.common)?;
    carry::show(&report.table(), &report, &args.common)?;
    if args.common.gate {
        let missed = gate::missed(&report);
        if !missed.is_empty() {
            bail!("The network misses what has to hold: {}", missed.join("; "));
        }
    }
    Ok(code)
}

/// The load's side in the guest.
pub fn load(args: &LoadArgs) -> Result<u8> {
    load::ask(args).map(|()| 0)
}

/// The initramfs that guests have, for its modules, and over it busybox, a script in initd's place, and this program
/// with its libraries, which is the load.
fn initramfs() -> Result<Vec<u8>> {
    host::ensure(&[host::BUSYBOX])?;
    let busybox = host::find(host::BUSYBOX.program).context("busybox is not installed")?;
    let products = workspace::product_dir()?;
    let read = |path: &Path| fs::read(path).with_context(|| format!("Cannot read {}", path.display()));
    let mut whole = read(&products.join("initramfs"))?;
    let load = products.join("xtask");
    let mut archive = cpio::Archive::default();
    for folder in ["bin", "sys", "lib", "lib64", "lib/x86_64-linux-gnu"] {
        archive.folder(folder);
    }
    archive.program("bin/busybox", &read(&busybox)?);
    archive.program("load", &read(&load)?);
    let libraries = String::from_utf8(host::output(Command::new("ldd").arg(&load))?)?;
    for path in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        archive.program(path.trim_start_matches('/'), &read(Path::new(path))?);
    }
    archive.program("init", plan::init_script().as_bytes());
    whole.extend(archive.finish());
    Ok(whole)
}
