//! The half inside the lab. It says nothing while it measures: QEMU 7.2 loses an interrupt now and then when one of
//! the lab's own devices raises it while a nested guest runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::super::carry;
use super::super::guest::Guest;
use super::super::histogram::{Histogram, Row};
use super::super::process::Machine;
use super::super::subject::Subject;
use super::plan::{self, JOBS, Job, Plan};
use super::report::{Figures, Outcome, Report};

/// `KVM_RUN`, as `ioctl` gets it, and the numbers of `ioctl` and `clock_gettime` (x86_64).
const KVM_RUN: &str = "44672";
const IOCTL: i64 = 16;
const CLOCK_GETTIME: i64 = 228;
/// The interrupt line of the serial port.
const SERIAL_LINE: &str = "4";
/// How the names of vCPUs' threads begin: ours, Firecracker's, QEMU's.
const VCPUS: [&str; 3] = ["vcpu", "fc_vcpu", "CPU "];
/// How many of the commonest system calls are kept.
const COMMONEST: usize = 8;

/// Measures what the plan names.
pub fn run() -> Result<u8> {
    let mut plan: Plan = carry::plan()?;
    prepare()?;
    plan.subjects.iter_mut().try_for_each(|(subject, _)| subject.install())?;
    let mut results = Vec::new();
    for (subject, guest) in &plan.subjects {
        let version = subject.version();
        let figures = measure(subject, guest, plan.requests).map_err(|error| format!("{error:#}"));
        if let Err(why) = &figures {
            eprintln!("bench: {}: {why}", subject.name);
        }
        results.push(Outcome { name: subject.name.clone(), version, figures });
    }
    let failed = results.iter().any(|outcome| outcome.figures.is_err());
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    carry::give(&Report {
        host: read("/proc/version"),
        clock: read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        steady: std::thread::available_parallelism().is_ok_and(|count| count.get() == 1),
        results,
    })?;
    Ok(u8::from(failed))
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
        let counted = counts.less(&own, requests, rate);
        figures.insert(job.name.to_owned(), counted);
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

/// What was counted while a load ran.
#[derive(Debug, Default)]
struct Counts {
    /// By thread's name and number.
    calls: BTreeMap<(String, i64), u64>,
    exits: u64,
    user_exits: u64,
    interrupts: u64,
}

fn count(machine: &mut Machine, job: &Job, requests: u32) -> Result<(Counts, f64)> {
    let mut names = threads(machine.id());
    let calls = Histogram::start("raw_syscalls/sys_enter", "common_pid,id", 4096)?;
    let ioctls = Histogram::start("syscalls/sys_enter_ioctl", "common_pid,cmd", 1024)?;
    let exits = Histogram::start("kvm/kvm_exit", "exit_reason", 256)?;
    let user_exits = Histogram::start("kvm/kvm_userspace_exit", "reason", 256)?;
    let interrupts = Histogram::start("kvm/kvm_set_irq", "gsi,level", 256)?;
    let rate = ask(machine, job, requests)?;
    // Threads that came and went between the two looks did little.
    names.extend(threads(machine.id()));
    let sum = |rows: &[Row]| rows.iter().map(|row| row.count).sum();
    let raised = |row: &&Row| row.fields["gsi"] != SERIAL_LINE && row.fields["level"] == "1";
    let mut counts = Counts {
        calls: BTreeMap::new(),
        exits: sum(&exits.read()?),
        user_exits: sum(&user_exits.read()?),
        interrupts: interrupts.read()?.iter().filter(raised).map(|row| row.count).sum(),
    };
    for row in calls.read()? {
        let (Ok(thread), Ok(number)) = (row.fields["common_pid"].parse::<u32>(), row.fields["id"].parse())
        else {
            continue;
        };
        if let Some(name) = names.get(&thread) {
            *counts.calls.entry((name.clone(), number)).or_default() += row.count;
        }
    }
    for row in ioctls.read()?.iter().filter(|row| row.fields["cmd"] == KVM_RUN) {
        let name = row.fields["common_pid"].parse::<u32>().ok().and_then(|thread| names.get(&thread));
        if let Some(count) = name.and_then(|name| counts.calls.get_mut(&(name.clone(), IOCTL))) {
            *count = count.saturating_sub(row.count);
        }
    }
    Ok((counts, rate))
}

/// The threads of a process with their names.
fn threads(process: u32) -> BTreeMap<u32, String> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let thread = |task: fs::DirEntry| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        Some((task.file_name().to_str()?.parse().ok()?, name.trim().to_owned()))
    };
    tasks.filter_map(thread).collect()
}

impl Counts {
    /// What each of `requests` cost, without what fio did beside them, of which `own` is the count.
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    fn less(&self, own: &Counts, requests: u32, rate: f64) -> Figures {
        let each = |all: u64, own: u64| (all as f64 - own as f64) / f64::from(requests);
        let sum = |counts: &Counts, wanted: &dyn Fn(&str, i64) -> bool| -> u64 {
            counts
                .calls
                .iter()
                .filter(|((name, number), _)| wanted(name, *number))
                .map(|(_, count)| count)
                .sum()
        };
        let calls = |wanted: &dyn Fn(&str, i64) -> bool| each(sum(self, wanted), sum(own, wanted));
        let is_io = |name: &str| !VCPUS.iter().any(|vcpu| name.starts_with(vcpu));
        let mut commonest: Vec<_> =
            self.calls.iter().map(|((name, number), count)| (name.clone(), *number, *count)).collect();
        commonest.sort_by_key(|(_, _, count)| std::cmp::Reverse(*count));
        commonest.truncate(COMMONEST);
        Figures {
            requests,
            rate,
            io_calls: calls(&|name, _| is_io(name)),
            time_calls: calls(&|name, number| is_io(name) && number == CLOCK_GETTIME),
            calls: calls(&|_, _| true),
            exits: each(self.exits, own.exits),
            user_exits: each(self.user_exits, own.user_exits),
            interrupts: each(self.interrupts, own.interrupts),
            commonest,
        }
    }
}

#[cfg(test)]
#[path = "runner_tests.rs"]
mod tests;
