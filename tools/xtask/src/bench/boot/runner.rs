//! The half inside the lab.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::super::guest::Guest;
use super::super::process::{Machine, now};
use super::super::subject::Subject;
use super::super::{carry, counters, outcome, smaps, trace};
use super::plan::{self, Plan};
use super::report::{Figures, GuestReport, Report, Start};

/// How long the guest is left alone before it is looked at, so that its first process waits.
const SETTLE: Duration = Duration::from_millis(50);

/// Measures what the plan names.
pub fn run() -> Result<u8> {
    let mut plan: Plan = carry::plan()?;
    let mut subjects = std::mem::take(&mut plan.subjects);
    let mut guests = Vec::new();
    for (release, guest) in &plan.guests {
        let results = outcome::of_each(&mut subjects, |subject| measure(subject, guest, plan.runs))?;
        let kernel_line = guest.line.clone();
        guests.push(GuestReport { release: release.clone(), kernel_line, vcpus: guest.vcpus, results });
    }
    let status = guests.iter().map(|guest| outcome::status(&guest.results)).max().unwrap_or(0);
    carry::give(&Report { host: outcome::host(), guests })?;
    Ok(status)
}

fn measure(subject: &Subject, guest: &Guest, runs: u8) -> Result<Figures> {
    let mut starts = Vec::new();
    for run in 0..=runs {
        let (start, _) = start(subject, guest)?;
        eprintln!("bench: {} {run}: up after {:.1} ms", subject.name, start.up_ms);
        starts.push(start);
    }
    trace::switch(true)?;
    let traced = start(subject, guest);
    trace::switch(false)?;
    let (traced, exec) = traced?;
    let traced = trace::add_up(&trace::take()?, exec, exec + traced.up_ms / 1000.0);
    Ok(Figures { starts, traced })
}

/// Starts a guest once; gives its figures and the moment of the exec.
fn start(subject: &Subject, guest: &Guest) -> Result<(Start, f64)> {
    let command = guest.command(subject, &Path::new(carry::FOLDER).join("config.json"))?;
    let exec = now();
    let mut machine = Machine::start(command)?;
    machine.read_until(plan::MARKER)?;
    let at = now();
    thread::sleep(SETTLE);
    let process = machine.id();
    let footprint = smaps::of(process, guest.memory)?;
    let counters = counters::read(process)?;
    let paused = now();
    machine.type_line(plan::last_words(subject.kind))?;
    machine.read_to_end()?;
    let end = now();
    let start = Start {
        up_ms: (at - exec) * 1000.0,
        whole_ms: ((at - exec) + (end - paused)) * 1000.0,
        counters,
        footprint,
    };
    Ok((start, exec))
}
