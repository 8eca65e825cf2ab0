//! `cargo xtask bench boot`: a start, measured on the lab's instruction clock, against other VMMs.
//!
//! This half packs a plan, starts a lab and shows what comes back; [`runner`] is the half inside.

mod counters;
mod gate;
mod memory;
mod plan;
mod report;
mod runner;
mod trace;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use crate::lab::{self, LabArgs};
use crate::{cpio, host, workspace};
use plan::{Kind, Plan, Subject};
use report::Report;

pub use runner::run as inside;

/// What is measured.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// From exec to the guest's first process, against QEMU microvm and other VMMs, with the same guest.
    Boot(BootArgs),
}

/// Against whom, and where the figures go.
#[derive(Debug, Args)]
struct BootArgs {
    /// Another VMM that takes Firecracker's command line. May be repeated.
    #[arg(long, value_name = "NAME=PATH", value_parser = peer)]
    peer: Vec<(String, PathBuf)>,
    /// A file for the figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How many starts are timed, after a first one that is shown apart.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=50))]
    runs: u8,
    /// Fail unless ours is at or below QEMU microvm and within its budgets.
    #[arg(long)]
    gate: bool,
    /// After how many seconds all of it is ended.
    #[arg(long, value_name = "S", default_value_t = 900)]
    timeout: u64,
}

fn peer(text: &str) -> Result<(String, PathBuf)> {
    let (name, path) = text.split_once('=').context("a peer is given as NAME=PATH")?;
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
    if !plain {
        bail!("the peer's name {name:?} may hold letters, digits, dots and dashes");
    }
    Ok((name.to_owned(), PathBuf::from(path)))
}

/// Measures; 0 when every VMM could be.
pub fn run(args: &BenchArgs) -> Result<u8> {
    let Bench::Boot(args) = &args.bench;
    host::ensure(&[host::BUSYBOX])?;
    let product = workspace::product_dir()?;
    for name in ["vmlinux", "bulkhead-vmm"] {
        if !product.join(name).is_file() {
            bail!("There is no {}; run `cargo xtask build`", product.join(name).display());
        }
    }
    let temporary = tempfile::tempdir().context("Cannot make a temporary folder")?;
    let bench = temporary.path().join("bench");
    fs::create_dir(&bench)?;
    pack(&bench, args)?;
    let out = temporary.path().join("out");
    let agent = Path::new(lab::PLACE).join(lab::AGENT);
    let code = lab::run(&LabArgs {
        icount: true,
        smp: 1,
        memory: 6144,
        timeout: args.timeout,
        carry: vec![bench],
        out: Some(out.clone()),
        shell: false,
        in_place: false,
        verbose: false,
        command: vec![agent.into_os_string(), OsString::from("bench-inside")],
    })?;
    let figures = out.join(plan::FIGURES);
    let text = fs::read(&figures)
        .with_context(|| format!("The bench gave no figures and ended with status {code}"))?;
    let report: Report = serde_json::from_slice(&text).context("Cannot understand the bench's figures")?;
    print!("{}", report.table());
    if let Some(file) = &args.json {
        fs::write(file, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("Cannot write {}", file.display()))?;
    }
    if args.gate {
        let missed = gate::missed(&report);
        if !missed.is_empty() {
            bail!("The start misses what has to hold: {}", missed.join("; "));
        }
    }
    Ok(code)
}

/// Lays what the runner needs into a folder that is carried.
fn pack(bench: &Path, args: &BootArgs) -> Result<()> {
    let mut subjects = vec![
        Subject {
            name: "bulkhead-vmm".to_owned(),
            kind: Kind::Bulkhead,
            program: PathBuf::from("bulkhead-vmm"),
        },
        Subject {
            name: "qemu-microvm".to_owned(),
            kind: Kind::QemuMicrovm,
            program: PathBuf::from("qemu-system-x86_64"),
        },
    ];
    for (name, path) in &args.peer {
        let file = format!("peer-{name}");
        fs::copy(path, bench.join(&file))
            .with_context(|| format!("Cannot carry the peer {}", path.display()))?;
        let program = Path::new(plan::FOLDER).join(file);
        subjects.push(Subject { name: name.clone(), kind: Kind::Firecracker, program });
    }
    let plan = Plan { subjects, runs: args.runs };
    fs::write(bench.join(plan::PLAN), serde_json::to_vec(&plan)?)?;
    fs::write(bench.join(plan::CONFIG), plan::firecracker_config().to_string())?;
    let busybox = host::find(host::BUSYBOX.program).context("busybox is not installed")?;
    let mut archive = cpio::Archive::default();
    for folder in ["bin", "dev", "sys"] {
        archive.folder(folder);
    }
    archive.device("dev/console", 5, 1);
    archive.program(
        "bin/busybox",
        &fs::read(&busybox).with_context(|| format!("Cannot read {}", busybox.display()))?,
    );
    archive.program("init", plan::init_script().as_bytes());
    fs::write(bench.join(plan::INITRAMFS), archive.finish()).context("Cannot write the guest's initramfs")
}
