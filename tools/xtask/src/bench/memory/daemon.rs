//! The same number of machines as users start them: `bulkhead run -d` of one image, all at once.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::super::process::now;
use super::super::{carry, smaps};
use super::left::Left;
use super::plan::{Plan, ROOT};
use super::report::Figures;
use crate::lab;

/// Where the daemon has its folders: on the lab's disk.
const FOLDER: &str = "/var/tmp/bench-daemon";
/// How long all of the daemon's start may take, and each command.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long machines are left alone before they are looked at.
const SETTLE: Duration = Duration::from_millis(500);

/// A daemon; it ends with this.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Ok(id) = i32::try_from(self.0.id())
            && let Some(id) = rustix::process::Pid::from_raw(id)
        {
            // Fails only when it has ended already.
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

/// First one alone, then as many as the plan says.
pub fn measure(plan: &Plan) -> Result<Figures> {
    let folder = Path::new(FOLDER);
    fs::create_dir_all(folder).with_context(|| format!("Cannot make {FOLDER}"))?;
    let daemon = serve()?;
    let source = format!("dir:{}", Path::new(carry::FOLDER).join(ROOT).display());
    let _ = output(bulkhead().args(["import", &source, "--name", "bench"]))?;
    // The daemon's first machine makes what all of them share: the bridge, the parent of their cgroups.
    let alone = start(plan, 1)?;
    let one = footprints(plan)?.first().copied().unwrap_or_default();
    end()?;
    let before = Left::take(&[folder]);
    let up = start(plan, plan.machines)?;
    thread::sleep(SETTLE);
    let all = footprints(plan)?;
    if all.len() != usize::from(plan.machines) || alone.len() != 1 {
        bail!("{} of {} machines are there", all.len(), plan.machines);
    }
    end()?;
    let left_over = Left::take(&[folder]).added_since(&before);
    drop(daemon);
    fs::remove_dir_all(folder).with_context(|| format!("Cannot remove {FOLDER}"))?;
    Ok(Figures::new(one, &all, &up, left_over))
}

fn bulkhead() -> Command {
    let mut command = Command::new(Path::new(lab::PLACE).join("bulkhead"));
    command.args(["--socket", &format!("{FOLDER}/socket")]).stdin(Stdio::null());
    command
}

fn serve() -> Result<Daemon> {
    let mut command = bulkhead();
    command.args(["serve", "--boot-timeout", "600"]);
    for (flag, name) in [("--state-dir", "state"), ("--run-dir", "run")] {
        command.arg(flag).arg(Path::new(FOLDER).join(name));
    }
    let daemon = Daemon(command.spawn().context("Cannot start the daemon")?);
    let end = Instant::now() + PATIENCE;
    while bulkhead().arg("ps").output().is_ok_and(|output| !output.status.success()) {
        if Instant::now() > end {
            bail!("The daemon does not answer");
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(daemon)
}

/// Runs so many at once; gives when each container ran.
fn start(plan: &Plan, count: u16) -> Result<Vec<f64>> {
    let memory = plan.guest.memory.to_string();
    let begin = now();
    let runs: Vec<Child> = (0..count)
        .map(|number| {
            let name = format!("bench-{number}");
            let mut command = bulkhead();
            command.args(["run", "-d", "--name", &name, "-m", &memory, "bench"]);
            command.args(["/bin/busybox", "sleep", "100000"]).stdout(Stdio::null());
            command.spawn().context("Cannot start bulkhead run")
        })
        .collect::<Result<_>>()?;
    let mut up = Vec::new();
    for mut run in runs {
        let status = run.wait().context("Cannot wait for bulkhead run")?;
        if !status.success() {
            bail!("bulkhead run ended with {status}");
        }
        up.push((now() - begin) * 1000.0);
    }
    Ok(up)
}

/// The VMMs' memory, in the order of their processes.
fn footprints(plan: &Plan) -> Result<Vec<smaps::Footprint>> {
    let names = output(bulkhead().args(["ps", "--quiet"]))?;
    let mut found = Vec::new();
    for name in names.split_whitespace() {
        let machine: serde_json::Value = serde_json::from_str(&output(bulkhead().args(["inspect", name]))?)
            .context("Cannot understand bulkhead inspect")?;
        let process = machine["status"]["pid"].as_u64().and_then(|process| u32::try_from(process).ok());
        found.push(process.context("A machine has no process")?);
    }
    found.sort_unstable();
    found.into_iter().map(|process| smaps::of(process, plan.guest.memory)).collect()
}

/// Deletes every machine.
fn end() -> Result<()> {
    let names = output(bulkhead().args(["ps", "--all", "--quiet"]))?;
    let mut command = bulkhead();
    command.args(["rm", "--force"]).args(names.split_whitespace());
    output(&mut command).map(drop)
}

fn output(command: &mut Command) -> Result<String> {
    let output =
        command.output().with_context(|| format!("Cannot start {}", command.get_program().display()))?;
    if !output.status.success() {
        bail!("{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
