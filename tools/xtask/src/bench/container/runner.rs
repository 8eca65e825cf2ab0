//! The half inside the lab: one bundle, each runtime in turn. Nothing else runs: every wait is a blocking one.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::super::process::now;
use super::super::subject::Subject;
use super::super::{carry, outcome, strace};
use super::report::{Figures, Report};
use super::{OURS, Plan};

/// Where the bundle is: on the lab's disk, where people have theirs.
const BUNDLE: &str = "/var/lib/bench-container";

/// Measures what the plan names.
pub fn run() -> Result<u8> {
    let mut plan: Plan = carry::plan()?;
    make_bundle(Path::new(BUNDLE))?;
    for subject in plan.subjects.iter_mut().filter(|subject| subject.name == OURS) {
        // Its name says what it is; on the lab's disk, as the others are.
        let installed = PathBuf::from("/usr/local/bin").join(OURS);
        fs::copy(&subject.program, &installed).context("Cannot install bulkhead-oci")?;
        subject.program = installed;
    }
    let runs = plan.runs;
    let results = outcome::of_each(&mut plan.subjects, |subject| measure(subject, runs))?;
    let status = outcome::status(&results);
    carry::give(&Report { host: outcome::host(), results })?;
    Ok(status)
}

/// A root of busybox, and the configuration that `runc spec` writes, without a terminal.
fn make_bundle(bundle: &Path) -> Result<()> {
    let bin = bundle.join("rootfs/bin");
    fs::create_dir_all(&bin).context("Cannot make the bundle")?;
    fs::copy("/usr/bin/busybox", bin.join("busybox")).context("Cannot copy busybox")?;
    symlink("busybox", bin.join("true")).context("Cannot link busybox")?;
    succeeds(Command::new("runc").arg("spec").current_dir(bundle))?;
    let file = bundle.join("config.json");
    let text = fs::read(&file).context("runc wrote no configuration")?;
    let mut config: Value = serde_json::from_slice(&text).context("runc's configuration is no JSON")?;
    let process = config.get_mut("process").context("runc's configuration has no process")?;
    process["terminal"] = json!(false);
    process["args"] = json!(["/bin/true"]);
    fs::write(&file, serde_json::to_vec(&config)?).context("Cannot write the configuration")
}

fn measure(subject: &Subject, runs: u8) -> Result<Figures> {
    let mut runs_ms = Vec::new();
    for run in 0..=runs {
        let mut command = Command::new(&subject.program);
        let begin = now();
        succeeds(arguments(&mut command, run))?;
        runs_ms.push((now() - begin) * 1000.0);
    }
    let file = Path::new(carry::FOLDER).join("strace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-U", "name,calls", "-o"]).arg(&file).arg(&subject.program);
    succeeds(arguments(&mut strace, runs + 1))?;
    let text = fs::read_to_string(&file).context("strace counted nothing")?;
    Ok(Figures { runs_ms, calls: strace::counts(&text) })
}

fn arguments(command: &mut Command, run: u8) -> &mut Command {
    command.args(["run", "--bundle", BUNDLE]).arg(format!("bench-{run}"))
}

/// Runs a command to its good end.
fn succeeds(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("Cannot start {shown}"))?;
    if !output.status.success() {
        bail!("{shown} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
