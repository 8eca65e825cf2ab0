//! `cargo xtask bench image`: what it takes to make a disk of an image's layers, against what people put together for it
//! from public tools, with the same image in the same run.

mod gate;
mod report;
mod runner;
mod way;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::Common;
use super::carry::{self, Carried};
use crate::workspace;
use report::Report;

pub use runner::run as inside;
pub use way::run as inside_way;

/// Ours, as it is called in the table.
const OURS: &str = "bulkhead-image";

/// The image's layout, in the carried folder.
const LAYOUT: &str = "layout";

/// The lab's memory in MiB: all that is read and written lies in a file system in memory.
const MEMORY: u32 = 8192;

/// Which image, and where the figures go.
#[derive(Debug, Args)]
pub struct ImageArgs {
    #[command(flatten)]
    common: Common,
    /// An OCI layout with one image in place of Debian's 550 MB in 20 layers.
    #[arg(long, value_name = "DIR")]
    layout: Option<PathBuf>,
    /// Measure on this machine instead of in the lab: the processor's time is then what compares, also where the
    /// processor has instructions for digests, which the lab's has not.
    #[arg(long, conflicts_with = "gate")]
    here: bool,
    /// Measure only the way whose name has this in it.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

/// What the runner does.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    /// A part of the names of the ways that are measured; all when there is none.
    only: Option<String>,
}

/// Measures; 0 when every way could be.
pub fn run(args: &ImageArgs) -> Result<u8> {
    carry::need(&["xtask", OURS])?;
    let layout = match &args.layout {
        Some(layout) => layout.clone(),
        None => made()?,
    };
    if args.here {
        let report = runner::here(&layout, args.only.as_deref())?;
        carry::show(&report.table(), &report, &args.common)?;
        return Ok(0);
    }
    let carried = Carried::new()?.memory(MEMORY);
    copy(&layout, &carried.folder().join(LAYOUT))?;
    let (report, code): (Report, u8) =
        carried.run("image", &Plan { only: args.only.clone() }, &args.common)?;
    carry::show(&report.table(), &report, &args.common)?;
    if args.common.gate {
        let missed = gate::missed(&report);
        if !missed.is_empty() {
            bail!("Making a disk misses what has to hold: {}", missed.join("; "));
        }
    }
    Ok(code)
}

/// The layout that `tests/images/make layers` makes or has made.
fn made() -> Result<PathBuf> {
    let script = workspace::root()?.join("tests/images/make");
    let output = Command::new(&script).arg("layers").stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("Cannot start {}", script.display()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let layout = said.trim().strip_prefix("oci:").and_then(|rest| rest.strip_suffix(":latest"));
    match layout {
        Some(layout) if output.status.success() => Ok(PathBuf::from(layout)),
        _ => bail!("{} made no image: {}", script.display(), output.status),
    }
}

fn copy(layout: &Path, target: &Path) -> Result<()> {
    let status = Command::new("cp").arg("-r").arg(layout).arg(target).status().context("Cannot start cp")?;
    if !status.success() {
        bail!("Cannot copy the layout {}", layout.display());
    }
    Ok(())
}
