//! KVM's tracepoints: what a guest left for, how often, and how long it took.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// The kernel's tracer.
pub const FOLDER: &str = "/sys/kernel/tracing";
const EVENTS: [&str; 6] = [
    "kvm/kvm_exit",
    "kvm/kvm_pio",
    "kvm/kvm_userspace_exit",
    "kvm/kvm_entry",
    "syscalls/sys_enter_ioctl",
    "syscalls/sys_exit_ioctl",
];

/// `KVM_CREATE_VM` (Linux `include/uapi/linux/kvm.h`).
const CREATE_VM: &str = "cmd: ae01,";

/// How many of the commonest ports are shown.
const PORTS: usize = 10;

/// What a traced start shows, up to the marker.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Exits {
    /// From exec to KVM_CREATE_VM: the process and its configuration.
    pub configured_ms: f64,
    /// KVM_CREATE_VM itself, which a VMM may use for something else.
    pub create_vm_ms: f64,
    /// From exec to the first entry into the guest.
    pub first_entry_ms: f64,
    /// Between exits and the next entries; halts apart.
    pub handling_ms: f64,
    /// All exits.
    pub total: u64,
    /// By the processor's reason.
    pub reasons: BTreeMap<String, Reason>,
    /// Returns to user space.
    pub userspace_total: u64,
    /// By KVM's reason.
    pub userspace: BTreeMap<String, u64>,
    /// The commonest ports with their accesses, the commonest first.
    pub ports: Vec<(String, u64)>,
}

/// Exits for one reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// How many.
    pub count: u64,
    /// From these exits to the next entries.
    pub ms: f64,
}

/// Switches KVM's events on or off; on empties the buffer and sets its clock to the monotonic one.
pub fn switch(on: bool) -> Result<()> {
    if on {
        write("buffer_size_kb", "32768")?;
        write("trace_clock", "mono")?;
        write("trace", "")?;
    }
    for event in EVENTS {
        write(&format!("events/{event}/enable"), if on { "1" } else { "0" })?;
    }
    Ok(())
}

/// Takes what was traced.
pub fn take() -> Result<String> {
    fs::read_to_string(Path::new(FOLDER).join("trace")).context("Cannot read the trace")
}

fn write(file: &str, text: &str) -> Result<()> {
    fs::write(Path::new(FOLDER).join(file), text).with_context(|| format!("Cannot set {file} of the tracer"))
}

/// One line of a trace.
struct Event<'a> {
    /// Seconds of the monotonic clock.
    time: f64,
    name: &'a str,
    rest: &'a str,
}

/// `TASK-PID [CPU] FLAGS TIME: NAME: REST`, or for system calls `TIME: sys_ioctl(REST` and `TIME: sys_ioctl ->
/// RESULT`; a task's name may hold blanks.
fn event(line: &str) -> Option<Event<'_>> {
    let (head, name, rest) = match line.split_once(": kvm_") {
        Some((head, body)) => {
            let (name, rest) = body.split_once(": ")?;
            (head, name, rest)
        }
        None => {
            let (head, rest) = line.split_once(": sys_ioctl")?;
            (head, if rest.starts_with('(') { "ioctl" } else { "ioctl done" }, rest)
        }
    };
    Some(Event { time: head.split_whitespace().last()?.parse().ok()?, name, rest })
}

fn word_after<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut words = text.split_whitespace();
    words.find(|word| *word == key)?;
    words.next()
}

/// Adds a trace up, from the exec to the marker (seconds of the monotonic clock).
pub fn add_up(trace: &str, exec: f64, marker: f64) -> Exits {
    let mut exits = Exits::default();
    let mut ports: BTreeMap<&str, u64> = BTreeMap::new();
    let mut left: Option<(f64, &str)> = None;
    let mut creating: Option<f64> = None;
    let events = trace.lines().filter_map(event).filter(|event| (exec..=marker).contains(&event.time));
    for event in events {
        match event.name {
            "exit" => {
                let reason = word_after(event.rest, "reason").unwrap_or("unknown");
                exits.total += 1;
                exits.reasons.entry(reason.to_owned()).or_default().count += 1;
                left = Some((event.time, reason));
            }
            "entry" => {
                if exits.first_entry_ms == 0.0 {
                    exits.first_entry_ms = (event.time - exec) * 1000.0;
                }
                let Some((time, reason)) = left.take() else { continue };
                let ms = (event.time - time) * 1000.0;
                exits.reasons.entry(reason.to_owned()).or_default().ms += ms;
                // A halt is the guest's own waiting.
                exits.handling_ms += if reason == "hlt" { 0.0 } else { ms };
            }
            "userspace_exit" => {
                let reason = word_after(event.rest, "reason").unwrap_or("unknown");
                exits.userspace_total += 1;
                *exits.userspace.entry(reason.trim_start_matches("KVM_EXIT_").to_lowercase()).or_default() +=
                    1;
            }
            "ioctl" if exits.configured_ms == 0.0 && event.rest.contains(CREATE_VM) => {
                exits.configured_ms = (event.time - exec) * 1000.0;
                creating = Some(event.time);
            }
            "ioctl done" => {
                exits.create_vm_ms += creating.take().map_or(0.0, |start| (event.time - start) * 1000.0);
            }
            "pio" => *ports.entry(word_after(event.rest, "at").unwrap_or("unknown")).or_default() += 1,
            _ => {}
        }
    }
    let mut ports: Vec<(String, u64)> =
        ports.into_iter().map(|(port, count)| (port.to_owned(), count)).collect();
    ports.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    ports.truncate(PORTS);
    exits.ports = ports;
    exits
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "# tracer: nop
             vmm-129     [000] ..... 10.001000: sys_ioctl(fd: 6, cmd: ae00, arg: 0)
             vmm-129     [000] ..... 10.001100: sys_ioctl -> 0xc
             vmm-129     [000] ..... 10.002000: sys_ioctl(fd: 6, cmd: ae01, arg: 0)
             vmm-129     [000] ..... 10.009000: sys_ioctl -> 0x7
        fc_vcpu 0-130     [000] ..... 10.010000: kvm_entry: vcpu 0, rip 0x1000
        fc_vcpu 0-130     [000] d...1 10.011000: kvm_exit: vcpu 0 reason io rip 0x1 info1 0x0
        fc_vcpu 0-130     [000] d...1 10.011100: kvm_pio: pio_write at 0x3f8 size 1 count 1 val 0x0
        fc_vcpu 0-130     [000] d...1 10.011200: kvm_userspace_exit: reason KVM_EXIT_IO (2)
        fc_vcpu 0-130     [000] ..... 10.013000: kvm_entry: vcpu 0, rip 0x1000
        fc_vcpu 0-130     [000] d...1 10.014000: kvm_exit: vcpu 0 reason hlt rip 0x1 info1 0x0
        fc_vcpu 0-130     [000] ..... 10.018000: kvm_entry: vcpu 0, rip 0x1000
        fc_vcpu 0-130     [000] d...1 10.030000: kvm_exit: vcpu 0 reason io rip 0x1 info1 0x0";

    #[test]
    fn a_trace_adds_up_to_the_marker() {
        let exits = add_up(TRACE, 10.0, 10.02);
        assert!((exits.first_entry_ms - 10.0).abs() < 1e-6, "{exits:?}");
        assert!((exits.handling_ms - 2.0).abs() < 1e-6, "{exits:?}");
        assert_eq!((exits.total, exits.userspace_total), (2, 1));
        assert_eq!((exits.reasons["hlt"].count, exits.reasons["io"].count), (1, 1));
        assert!((exits.reasons["io"].ms - 2.0).abs() < 1e-6, "{exits:?}");
        assert!(
            (exits.configured_ms - 2.0).abs() < 1e-6 && (exits.create_vm_ms - 7.0).abs() < 1e-6,
            "{exits:?}"
        );
        assert_eq!(exits.userspace["io"], 1);
        assert_eq!(exits.ports, [("0x3f8".to_owned(), 1)]);
    }
}
