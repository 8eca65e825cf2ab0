//! What a VMM did while it was loaded: system calls of its threads, exits and interrupts of its guest, counted by the
//! kernel from the tally's start.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::histogram::{Histogram, Row};

/// `KVM_RUN`, as `ioctl` gets it.
const KVM_RUN: &str = "44672";
/// The call that it is one of.
const IOCTL: &str = "ioctl";
/// The interrupt line of the serial port, which is no device's that is loaded.
const SERIAL_LINE: &str = "4";

/// A count that goes on.
#[derive(Debug)]
pub struct Tally {
    process: u32,
    calls: Histogram,
    ioctls: Histogram,
    exits: Histogram,
    user_exits: Histogram,
    interrupts: Histogram,
}

/// What was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// System calls by the thread's name and their own, `KVM_RUN` apart.
    pub calls: BTreeMap<String, BTreeMap<String, u64>>,
    /// Exits by the processor's reason, a number that AMD and Intel each have their own of.
    pub exits: BTreeMap<String, u64>,
    /// Exits to user space by KVM's reason (`KVM_EXIT_*`), a number.
    pub user_exits: BTreeMap<String, u64>,
    /// Interrupts raised by line, the serial port's apart.
    pub interrupts: BTreeMap<String, u64>,
}

impl Tally {
    /// Counts what this process does, and what guests do: there must be one.
    pub fn start(process: u32) -> Result<Self> {
        Ok(Self {
            process,
            calls: Histogram::start("raw_syscalls/sys_enter", "common_pid,id.syscall", 4096)?,
            ioctls: Histogram::start("syscalls/sys_enter_ioctl", "common_pid,cmd", 1024)?,
            exits: Histogram::start("kvm/kvm_exit", "exit_reason", 256)?,
            user_exits: Histogram::start("kvm/kvm_userspace_exit", "reason", 256)?,
            interrupts: Histogram::start("kvm/kvm_set_irq", "gsi,level", 256)?,
        })
    }

    /// What there was since the start. To be called before the VMM's threads end.
    pub fn read(&self) -> Result<Counts> {
        let by = |rows: Vec<Row>, key: &str| -> BTreeMap<String, u64> {
            rows.into_iter().filter_map(|mut row| Some((row.fields.remove(key)?, row.count))).collect()
        };
        let mut interrupts = self.interrupts.read()?;
        interrupts.retain(|row| row.fields["gsi"] != SERIAL_LINE && row.fields["level"] == "1");
        Ok(Counts {
            calls: calls(&self.calls.read()?, &self.ioctls.read()?, &threads(self.process)),
            exits: by(self.exits.read()?, "exit_reason"),
            user_exits: by(self.user_exits.read()?, "reason"),
            interrupts: by(interrupts, "gsi"),
        })
    }
}

impl Counts {
    /// What came since `before` was read of the same tally.
    pub fn since(&self, before: &Counts) -> Counts {
        let calls = self.calls.iter().map(|(thread, calls)| {
            (thread.clone(), less(calls, before.calls.get(thread).unwrap_or(&BTreeMap::new())))
        });
        Counts {
            calls: calls.filter(|(_, calls)| !calls.is_empty()).collect(),
            exits: less(&self.exits, &before.exits),
            user_exits: less(&self.user_exits, &before.user_exits),
            interrupts: less(&self.interrupts, &before.interrupts),
        }
    }

    /// System calls of all threads by name.
    pub fn by_call(&self) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for (name, count) in self.calls.values().flatten() {
            *sums.entry(name.clone()).or_default() += count;
        }
        sums
    }
}

fn less(now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let left = |(name, count): (&String, &u64)| {
        (name.clone(), count.saturating_sub(before.get(name).copied().unwrap_or(0)))
    };
    now.iter().map(left).filter(|(_, count)| *count != 0).collect()
}

/// Adds up the calls of those threads, and takes off `KVM_RUN`.
fn calls(
    rows: &[Row],
    ioctls: &[Row],
    threads: &BTreeMap<String, String>,
) -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut sums: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for row in rows {
        let Some(thread) = threads.get(&row.fields["common_pid"]) else { continue };
        // `sys_read [  0]`
        let name = row.fields["id"].split_whitespace().next().unwrap_or_default();
        let calls = sums.entry(thread.clone()).or_default();
        *calls.entry(name.trim_start_matches("sys_").to_owned()).or_default() += row.count;
    }
    for row in ioctls.iter().filter(|row| row.fields["cmd"] == KVM_RUN) {
        let calls = threads.get(&row.fields["common_pid"]).and_then(|thread| sums.get_mut(thread));
        if let Some(count) = calls.and_then(|calls| calls.get_mut(IOCTL)) {
            *count = count.saturating_sub(row.count);
        }
    }
    sums
}

/// The threads of a process by number, with their names.
fn threads(process: u32) -> BTreeMap<String, String> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let thread = |task: fs::DirEntry| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        Some((task.file_name().to_str()?.to_owned(), name.trim().to_owned()))
    };
    tasks.filter_map(thread).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(fields: &[(&str, &str)], count: u64) -> Row {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Row { fields: fields.iter().map(own).collect(), count }
    }

    #[test]
    fn calls_are_by_thread_and_without_those_that_run_the_guest() {
        let threads = [("7", "io"), ("8", "vcpu-0")].map(|(id, name)| (id.to_owned(), name.to_owned()));
        let rows = [
            row(&[("common_pid", "7"), ("id", "sys_readv                     [ 19]")], 12),
            row(&[("common_pid", "8"), ("id", "sys_ioctl                     [ 16]")], 700),
            row(&[("common_pid", "9"), ("id", "sys_read                      [  0]")], 5),
        ];
        let ioctls = [
            row(&[("common_pid", "8"), ("cmd", "44672")], 690),
            row(&[("common_pid", "8"), ("cmd", "1")], 10),
        ];
        let calls = calls(&rows, &ioctls, &threads.into());
        assert_eq!((calls["io"]["readv"], calls["vcpu-0"]["ioctl"], calls.len()), (12, 10, 2));

        let count = |count| BTreeMap::from([("123".to_owned(), count)]);
        let before = Counts { calls: calls.clone(), exits: count(5), ..Counts::default() };
        let mut now = Counts { calls, exits: count(9), ..Counts::default() };
        now.calls.entry("io".to_owned()).or_default().insert("readv".to_owned(), 15);
        let since = now.since(&before);
        assert_eq!((since.by_call(), since.exits), ([("readv".to_owned(), 3)].into(), count(4)));
    }
}
