//! The half inside the lab. Nothing else runs while a guest starts: every wait is a blocking one.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags};
use rustix::time::{ClockId, Timespec};

use super::plan::{self, Plan, Subject};
use super::report::{Figures, Outcome, Report, Start};
use super::{counters, memory, trace};
use crate::lab;

/// How long a guest may take to say something, and a VMM to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the guest is left alone before it is looked at, so that its first process waits.
const SETTLE: Duration = Duration::from_millis(50);

/// Measures what the plan names and leaves the figures where they are copied back from.
pub fn run() -> Result<u8> {
    let folder = Path::new(plan::FOLDER);
    let plan = fs::read(folder.join(plan::PLAN)).context("Cannot read the bench's plan")?;
    let mut plan: Plan = serde_json::from_slice(&plan).context("Cannot understand the bench's plan")?;
    plan.subjects.iter_mut().try_for_each(install)?;
    // What has not reached the disk counts as dirty where it is mapped.
    rustix::fs::sync();
    let mut results = Vec::new();
    for subject in &plan.subjects {
        // Asked first: it also brings the program and its libraries in from the lab's disk.
        let version = version(subject);
        let figures = measure(subject, plan.runs).map_err(|error| format!("{error:#}"));
        if let Err(why) = &figures {
            eprintln!("bench: {}: {why}", subject.name);
        }
        results.push(Outcome { name: subject.name.clone(), version, figures });
    }
    let failed = results.iter().any(|outcome| outcome.figures.is_err());
    let host = fs::read_to_string("/proc/version").unwrap_or_default().trim().to_owned();
    let report = Report { host, kernel_line: plan::KERNEL_LINE.to_owned(), results };
    fs::write(Path::new(lab::OUT).join(plan::FIGURES), serde_json::to_vec(&report)?)
        .context("Cannot write the figures")?;
    Ok(u8::from(failed))
}

/// Puts a program that was carried in onto the lab's disk, where people have theirs: what is carried lies in a file
/// system in memory, whose pages are dirty for ever.
fn install(subject: &mut Subject) -> Result<()> {
    // A path stays what it is; a name is looked for among what is carried.
    let carried = Path::new(lab::PLACE).join(&subject.program);
    let (Some(name), true) = (carried.file_name(), carried.is_file()) else { return Ok(()) };
    let installed = Path::new("/usr/local/bin").join(name);
    fs::copy(&carried, &installed).with_context(|| format!("Cannot install {}", carried.display()))?;
    subject.program = installed;
    Ok(())
}

fn version(subject: &Subject) -> String {
    let output = Command::new(&subject.program).arg("--version").stdin(Stdio::null()).output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    said.lines().next().unwrap_or("says no version").to_owned()
}

fn measure(subject: &Subject, runs: u8) -> Result<Figures> {
    let mut starts = Vec::new();
    for run in 0..=runs {
        let (start, _) = start(subject)?;
        eprintln!("bench: {} {run}: up after {:.1} ms", subject.name, start.up_ms);
        starts.push(start);
    }
    trace::switch(true)?;
    let traced = start(subject);
    trace::switch(false)?;
    let (traced, exec) = traced?;
    let traced = trace::add_up(&trace::take()?, exec, exec + traced.up_ms / 1000.0);
    Ok(Figures { starts, traced })
}

/// Starts a guest once; gives its figures and the moment of the exec.
fn start(subject: &Subject) -> Result<(Start, f64)> {
    let mut command = subject.command();
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let complaints = tempfile::tempfile()?;
    command.stderr(complaints.try_clone()?);
    let exec = now();
    let mut machine =
        Machine(command.spawn().with_context(|| format!("Cannot start {}", subject.program.display()))?);
    let up = machine.read_until(plan::MARKER);
    let at = now();
    if let Err(error) = up {
        let mut said = String::new();
        let _ = read_all(complaints, &mut said);
        bail!("{error:#}; its standard error: {}", said.trim());
    }
    thread::sleep(SETTLE);
    let process = machine.0.id();
    let smaps =
        fs::read_to_string(format!("/proc/{process}/smaps")).context("Cannot read the VMM's mappings")?;
    let counters = counters::read(process)?;
    let paused = now();
    machine
        .0
        .stdin
        .as_mut()
        .context("The VMM has no standard input")?
        .write_all(subject.last_words().as_bytes())?;
    machine.read_to_end()?;
    let end = now();
    let start = Start {
        up_ms: (at - exec) * 1000.0,
        whole_ms: ((at - exec) + (end - paused)) * 1000.0,
        counters,
        footprint: memory::footprint(&smaps, plan::MEMORY),
    };
    Ok((start, exec))
}

fn read_all(mut file: fs::File, text: &mut String) -> std::io::Result<usize> {
    std::io::Seek::rewind(&mut file)?;
    file.read_to_string(text)
}

/// Seconds of the monotonic clock, which the tracer uses too.
fn now() -> f64 {
    let Timespec { tv_sec, tv_nsec } = rustix::time::clock_gettime(ClockId::Monotonic);
    // Exact: a lab lives for hours, not for 2^53 microseconds.
    #[allow(clippy::cast_precision_loss)]
    let seconds = tv_sec as f64 + tv_nsec as f64 / 1e9;
    seconds
}

/// A VMM's process, killed when dropped.
struct Machine(Child);

impl Machine {
    fn read_until(&mut self, marker: &str) -> Result<()> {
        let mut said = Vec::new();
        while self.read(&mut said)? {
            if said.windows(marker.len()).any(|window| window == marker.as_bytes()) {
                return Ok(());
            }
        }
        let tail = said.get(said.len().saturating_sub(500)..).unwrap_or_default();
        bail!("It ended before its guest was up; it said: {}", String::from_utf8_lossy(tail).trim())
    }

    fn read_to_end(&mut self) -> Result<()> {
        while self.read(&mut Vec::new())? {}
        self.0.wait().context("Cannot wait for the VMM")?;
        Ok(())
    }

    /// Reads once; false at the end.
    fn read(&mut self, said: &mut Vec<u8>) -> Result<bool> {
        let stdout = self.0.stdout.as_mut().context("The VMM has no standard output")?;
        let patience = Timespec { tv_sec: i64::try_from(PATIENCE.as_secs())?, tv_nsec: 0 };
        let ready = rustix::event::poll(&mut [PollFd::new(stdout, PollFlags::IN)], Some(&patience))
            .context("Cannot wait")?;
        if ready == 0 {
            let tail = said.get(said.len().saturating_sub(500)..).unwrap_or_default();
            bail!(
                "It said nothing for {} s after: {}",
                PATIENCE.as_secs(),
                String::from_utf8_lossy(tail).trim()
            );
        }
        let mut buffer = [0; 4096];
        let length = stdout.read(&mut buffer).context("Cannot read the guest's console")?;
        said.extend_from_slice(buffer.get(..length).unwrap_or_default());
        Ok(length > 0)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
