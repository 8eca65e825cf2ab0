//! The half inside the lab. It says nothing while it measures: QEMU 7.2 loses an interrupt now and then when one of
//! the lab's own devices raises it while a nested guest runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::super::carry;
use super::super::guest::Guest;
use super::super::outcome;
use super::super::process::Machine;
use super::super::subject::Subject;
use super::super::tally::{Counts, Tally};
use super::plan::{self, JOBS, Job, Plan};
use super::report::{Figures, Report};

/// How the names of vCPUs' threads begin: ours, Firecracker's, QEMU's.
const VCPUS: [&str; 3] = ["vcpu", "fc_vcpu", "CPU "];
/// How many of the commonest system calls are kept.
const COMMONEST: usize = 8;

/// Measures what the plan names.
pub fn run() -> Result<u8> {
    let Plan { subjects, requests }: Plan = carry::plan()?;
    prepare()?;
    let (mut subjects, guests): (Vec<_>, Vec<_>) = subjects.into_iter().unzip();
    let mut guests = guests.iter();
    let results = outcome::of_each(&mut subjects, |subject| {
        measure(subject, guests.next().context("A VMM has no guest")?, requests)
    })?;
    let failed = outcome::status(&results);
    let steady = std::thread::available_parallelism().is_ok_and(|count| count.get() == 1);
    carry::give(&Report { host: outcome::host(), steady, results })?;
    Ok(failed)
}

/// A disk in memory with a file system: what is measured is a VMM, and no disk. Nothing is written back while a VMM
/// is being measured unless it asks for that.
fn prepare() -> Result<()> {
    let folder = Path::new(plan::DISK).parent().context("the drive has no folder")?;
    fs::create_dir_all(folder)?;
    let size = u64::from(plan::DISK_MIB) << 20;
    let script = format!(
        "set -e; modprobe brd rd_nr=1 rd_size={}; mkfs.ext4 -q /dev/ram0; mount /dev/ram0 {}; \
         head -c {size} /dev/urandom >{}; echo 0 >/proc/sys/vm/dirty_writeback_centisecs; sync",
        (size >> 10) * 2,
        folder.display(),
        plan::DISK
    );
    let status = Command::new("sh").args(["-c", &script]).status().context("Cannot start a shell")?;
    if !status.success() {
        bail!("The drive could not be made");
    }
    Ok(())
}

fn measure(subject: &Subject, guest: &Guest, most: u32) -> Result<BTreeMap<String, Figures>> {
    let command = guest.command(subject, &Path::new(carry::FOLDER).join("config.json"))?;
    let mut machine = Machine::start(command)?;
    machine.read_until(plan::UP)?;
    // The first brings fio in from its drive.
    let least = Job { depth: 1, ..JOBS[0] };
    ask(&mut machine, &least, 16)?;
    let (own, _) = count(&mut machine, &least, 1)?;
    let disk = fs::File::open(plan::DISK).context("Cannot open the drive")?;
    let mut figures = BTreeMap::new();
    for job in &JOBS {
        // What one load wrote is not written back in the next.
        rustix::fs::syncfs(&disk).context("Cannot write back")?;
        let requests = job.requests(most);
        let (counts, rate) = count(&mut machine, job, requests)?;
        figures.insert(job.name.to_owned(), cost(&counts, &own, requests, rate));
    }
    machine.type_line("poweroff")?;
    machine.read_to_end()?;
    Ok(figures)
}

/// Lets the guest do a load; gives the requests a second.
fn ask(machine: &mut Machine, job: &Job, requests: u32) -> Result<f64> {
    machine.type_line(&job.command(requests))?;
    let said = machine.read_until(plan::DONE)?;
    rate(&said, job, requests).with_context(|| format!("fio said: {}", said.trim()))
}

/// Requests a second by fio's terse report (version 3): bytes and milliseconds, of reads in the 6th and 9th field, of
/// writes in the 47th and 50th.
fn rate(said: &str, job: &Job, requests: u32) -> Option<f64> {
    let line = said.lines().find(|line| line.starts_with("3;"))?;
    let fields: Vec<&str> = line.split(';').collect();
    let first = if job.pattern.ends_with("read") { 5 } else { 46 };
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    if fields.get(4) != Some(&"0") || number(first)? << 10 != u64::from(requests) * u64::from(job.size) {
        return None;
    }
    // Exact: neither is near 2^53.
    #[allow(clippy::cast_precision_loss)]
    let seconds = number(first + 3)?.max(1) as f64 / 1000.0;
    Some(f64::from(requests) / seconds)
}

/// What was counted while a load ran, and its requests a second.
fn count(machine: &mut Machine, job: &Job, requests: u32) -> Result<(Counts, f64)> {
    let tally = Tally::start(machine.id())?;
    let rate = ask(machine, job, requests)?;
    Ok((tally.read()?, rate))
}

/// What each of `requests` cost, without what fio did beside them, of which `own` is the count.
#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn cost(all: &Counts, own: &Counts, requests: u32, rate: f64) -> Figures {
    let each = |sum: &dyn Fn(&Counts) -> u64| (sum(all) as f64 - sum(own) as f64) / f64::from(requests);
    let calls = |counts: &Counts, wanted: &dyn Fn(&str) -> bool| -> u64 {
        counts.calls.iter().filter(|(thread, _)| wanted(thread)).flat_map(|(_, calls)| calls.values()).sum()
    };
    let is_io = |name: &str| !VCPUS.iter().any(|vcpu| name.starts_with(vcpu));
    let by_thread = all.calls.iter().flat_map(|(thread, calls)| {
        calls.iter().map(move |(call, count)| (thread.clone(), call.clone(), *count))
    });
    let mut commonest: Vec<_> = by_thread.collect();
    commonest.sort_by_key(|(_, _, count)| std::cmp::Reverse(*count));
    commonest.truncate(COMMONEST);
    Figures {
        requests,
        rate,
        io_calls: each(&|counts| calls(counts, &is_io)),
        calls: each(&|counts| calls(counts, &|_| true)),
        exits: each(&|counts| counts.exits.values().sum()),
        user_exits: each(&|counts| counts.user_exits.values().sum()),
        interrupts: each(&|counts| counts.interrupts.values().sum()),
        commonest,
    }
}

#[cfg(test)]
#[path = "runner_tests.rs"]
mod tests;
