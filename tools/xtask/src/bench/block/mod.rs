//! `cargo xtask bench block`: what requests of a drive cost.

mod gate;
mod plan;
mod report;
mod runner;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::Common;
use super::carry::{self, Carried};
use super::guest::{self, Drive, Guest};
use super::subject::{Kind, Subject};
use crate::workspace;
use plan::Plan;
use report::Report;

pub use runner::run as inside;

/// The guest's command line: as for a start.
const KERNEL_LINE: &str = "console=ttyS0 panic=1 quiet loglevel=1 i8042.noaux i8042.nomux i8042.nopnp i8042.dumbkbd \
    8250.nr_uarts=1 cryptomgr.notests";
/// The guest's memory in MiB.
const MEMORY: u32 = 256;

/// QEMU's ways to a raw file that its users are told to take, with the file's cache or around it.
const QEMU_WAYS: [(&str, &str); 3] = [
    ("native", "cache=none,aio=native"),
    ("io_uring", "cache=none,aio=io_uring"),
    ("threads", "cache=writeback,aio=threads"),
];
/// Firecracker's.
const ENGINES: [&str; 2] = ["Sync", "Async"];

/// Against whom, and where the figures go.
#[derive(Debug, Args)]
pub struct BlockArgs {
    #[command(flatten)]
    common: Common,
    /// How many requests of 4 KiB at depth 32 there are; half of that at depth 1, and a MiB for each 32.
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(64..=1_000_000))]
    requests: u32,
    /// Only VMMs and ways whose name holds this, such as `Sync`.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

/// Measures; 0 when every VMM could be.
pub fn run(args: &BlockArgs) -> Result<u8> {
    carry::need(&["vmlinux", "initramfs", "bulkhead-vmm", "bulkhead-image", "xtask"])?;
    let carried = Carried::new()?;
    let folder = carried.folder();
    // Ours has the modules; the kernel reads one archive behind the other.
    let mut initramfs =
        fs::read(workspace::product_dir()?.join("initramfs")).context("Cannot read the initramfs")?;
    initramfs.extend(guest::initramfs(&plan::init_script())?);
    fs::write(folder.join("initramfs"), initramfs).context("Cannot write the guest's initramfs")?;
    make_tools(&folder.join("tools"))?;
    let mut subjects = Vec::new();
    for subject in carried.subjects(&args.common.peer)? {
        let ways = match subject.kind {
            Kind::QemuMicrovm => QEMU_WAYS.to_vec(),
            Kind::Bulkhead | Kind::Firecracker => ENGINES.map(|engine| (engine, engine)).to_vec(),
        };
        for (name, way) in ways {
            let name = format!("{} {name}", subject.name);
            subjects.push((Subject::new(&name, subject.kind, &subject.program), guest(way, args.common.smp)));
        }
    }
    if let Some(only) = &args.only {
        subjects.retain(|(subject, _)| subject.name.contains(only.as_str()));
    }
    let plan = Plan { subjects, requests: args.requests };
    let (report, code): (Report, u8) = carried.run("block", &plan, &args.common)?;
    carry::show(&report.table(&plan::JOBS.map(|job| job.name)), &report, &args.common)?;
    if args.common.gate {
        let missed = gate::missed(&report);
        if !missed.is_empty() {
            bail!("Drives miss what has to hold: {}", missed.join("; "));
        }
    }
    Ok(code)
}

/// The guest with its two drives: tools, and the one that is measured.
fn guest(way: &str, vcpus: u8) -> Guest {
    let drive = |id: &str, path: PathBuf, read_only| Drive {
        id: id.to_owned(),
        path,
        read_only,
        engine: way.to_owned(),
        qemu: way.to_owned(),
    };
    let folder = Path::new(carry::FOLDER);
    // In memory, where there is no way around the cache.
    let tools = Drive {
        engine: "Sync".to_owned(),
        qemu: String::from("cache=writeback"),
        ..drive("tools", folder.join("tools"), true)
    };
    Guest {
        kernel: PathBuf::from("/bulkhead/vmlinux"),
        initramfs: folder.join("initramfs"),
        line: KERNEL_LINE.to_owned(),
        memory: MEMORY,
        vcpus,
        drives: vec![tools, drive("data", PathBuf::from(plan::DISK), false)],
    }
}

/// Makes the image with fio, as the tests do.
fn make_tools(image: &Path) -> Result<()> {
    let root = workspace::root()?;
    let made = Command::new(root.join("tests/images/make")).arg("fio").stderr(Stdio::inherit()).output();
    let made = made.context("Cannot start tests/images/make")?;
    let source = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    if !made.status.success() {
        bail!("tests/images/make fio failed");
    }
    let mut build = Command::new(workspace::product_dir()?.join("bulkhead-image"));
    build.args(["build", &source, "--output"]).arg(image).stdout(Stdio::null());
    if !build.status().context("Cannot start bulkhead-image")?.success() {
        bail!("bulkhead-image could not build the image with fio");
    }
    Ok(())
}
