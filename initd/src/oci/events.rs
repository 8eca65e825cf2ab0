//! `events`: what a container uses, and when it runs out of memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use bulkhead_protocol::oci::Status;
use rustix::event::{PollFd, PollFlags};
use rustix::time::Timespec;
use serde_json::{Value, json};

use super::arguments::{Flag, Words};
use super::error::OciError;
use super::{Runtime, output, start};
use crate::isolation::cgroup::{Cgroup, counter};

/// What `events` takes.
pub const FLAGS: &[Flag] = &[Flag::value("interval"), Flag::switch("stats")];

/// Tells what a container uses: once, or again and again until it ends.
pub fn verb(runtime: &Runtime, words: &Words) -> Result<u8, OciError> {
    let (entry, record) = start::find(runtime, words.id()?)?;
    let status = record.status(&entry);
    if !matches!(status, Status::Created | Status::Running | Status::Paused) {
        return Err(start::state_error(&record, status, "watched"));
    }
    let cgroup = record.cgroup();
    let tell = |kind: &str, data: Value| {
        output::print(&format!("{}\n", json!({ "type": kind, "id": record.id, "data": data })))
    };
    if words.has("stats") {
        return tell("stats", stats(&cgroup)).map(|()| 0);
    }
    let interval = interval(words.value("interval").unwrap_or("5s"))?;
    let mut next = Instant::now() + interval;
    let mut killed = kills(&cgroup);
    while record.is_alive() {
        wait(&cgroup, next.saturating_duration_since(Instant::now()))?;
        let now = kills(&cgroup);
        if now > killed {
            killed = now;
            tell("oom", Value::Null)?;
        }
        if Instant::now() >= next {
            next += interval;
            tell("stats", stats(&cgroup))?;
        }
    }
    Ok(0)
}

/// `500ms`, `5s`, `2m`; a number alone is seconds.
fn interval(text: &str) -> Result<Duration, OciError> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let wrong = || OciError::Number("interval", text.to_owned());
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let millis = match &text[digits.len()..] {
        "ms" => Some(number),
        "" | "s" => number.checked_mul(1000),
        "m" => number.checked_mul(60_000),
        _ => None,
    };
    millis.filter(|millis| *millis > 0).map(Duration::from_millis).ok_or_else(wrong)
}

fn kills(cgroup: &Cgroup) -> u64 {
    counter(&cgroup.read("memory.events").unwrap_or_default(), "oom_kill")
}

/// Waits until the kernel says that something has happened, at most so long.
fn wait(cgroup: &Cgroup, most: Duration) -> Result<(), OciError> {
    let open = |name| File::open(cgroup.file(name)).ok();
    let files: Vec<_> = ["memory.events", "cgroup.events"].into_iter().filter_map(open).collect();
    let mut polled: Vec<_> =
        files.iter().map(|file| PollFd::from_borrowed_fd(file.as_fd(), PollFlags::PRI)).collect();
    let most = Timespec::try_from(most).map_err(|_| OciError::Number("interval", String::new()))?;
    rustix::event::poll(&mut polled, Some(&most)).map(drop).map_err(|error| OciError::Output(error.into()))
}

/// Numbers in the form that runc gives them.
fn stats(cgroup: &Cgroup) -> Value {
    let read = |name| cgroup.read(name).unwrap_or_default();
    let number = |name| read(name).trim().parse::<u64>().unwrap_or(0);
    // `max` is no limit, which version 1 wrote as the largest number.
    let limit = |name| read(name).trim().parse::<u64>().unwrap_or(u64::MAX);
    let cpu = read("cpu.stat");
    let nanos = |name| counter(&cpu, name).saturating_mul(1000);
    let raw: BTreeMap<String, u64> = read("memory.stat")
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect();
    json!({
        "cpu": {
            "usage": { "total": nanos("usage_usec"), "kernel": nanos("system_usec"), "user": nanos("user_usec") },
            "throttling": {
                "periods": counter(&cpu, "nr_periods"),
                "throttledPeriods": counter(&cpu, "nr_throttled"),
                "throttledTime": nanos("throttled_usec"),
            },
        },
        "memory": {
            "cache": raw.get("file").copied().unwrap_or(0),
            "usage": {
                "limit": limit("memory.max"),
                "usage": number("memory.current"),
                "max": number("memory.peak"),
                "failcnt": counter(&read("memory.events"), "max"),
            },
            "swap": { "limit": limit("memory.swap.max"), "usage": number("memory.swap.current"), "failcnt": 0 },
            "kernel": { "limit": 0, "failcnt": 0 },
            "kernelTCP": { "limit": 0, "failcnt": 0 },
            "raw": raw,
        },
        "pids": { "current": number("pids.current"), "limit": read("pids.max").trim().parse().unwrap_or(0_u64) },
        "blkio": { "ioServiceBytesRecursive": io(&read("io.stat")) },
        "hugetlb": {},
        "intel_rdt": {},
    })
}

/// `io.stat`: a line a device, `MAJOR:MINOR KEY=VALUE…`.
fn io(text: &str) -> Vec<Value> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        let (major, minor): (u64, u64) = (major.parse().ok()?, minor.parse().ok()?);
        let named = words.filter_map(move |word| {
            let (key, value) = word.split_once('=')?;
            let op = match key {
                "rbytes" => "Read",
                "wbytes" => "Write",
                _ => return None,
            };
            Some(json!({ "major": major, "minor": minor, "op": op, "value": value.parse::<u64>().ok()? }))
        });
        Some(named.collect::<Vec<_>>())
    };
    text.lines().filter_map(line).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_and_devices_are_read() {
        assert_eq!(interval("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!([interval("5s").unwrap(), interval("5").unwrap()], [Duration::from_secs(5); 2]);
        assert!(interval("0s").is_err() && interval("x").is_err() && interval("5h").is_err());
        let found = io("254:0 rbytes=5 wbytes=6 rios=1\n");
        assert_eq!(found[1], json!({ "major": 254, "minor": 0, "op": "Write", "value": 6 }));
    }
}
