//! `kill`: sends a signal.

use bulkhead_protocol::oci::Status;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::Runtime;
use super::arguments::{Flag, Words};
use super::error::OciError;
use super::record::Record;
use super::start;
use crate::container::signal::signal_of;

/// What `kill` takes.
pub const FLAGS: &[Flag] = &[Flag::switch("all").short('a')];

/// The names of the signals 1 to 31, without `SIG`.
const NAMES: &str = "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP \
                     TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS";

/// The state of a container that takes no signal, in the words that engines look for.
const GONE: &str = "stopped (container not running)";

/// The first real-time signal, as the C library leaves them to programs.
const REAL_TIME: i32 = 34;

/// Sends a signal to a container's first process, or to all its processes.
pub fn verb(runtime: &Runtime, words: &Words) -> Result<u8, OciError> {
    let (id, name) = match words.rest() {
        [id] => (id, "TERM"),
        [id, name] => (id, name.as_str()),
        [] => return Err(OciError::NoId),
        [_, _, more, ..] => return Err(OciError::TooManyWords(more.clone())),
    };
    let signal = parse(name).ok_or_else(|| OciError::NoSignal(name.to_owned()))?;
    let (entry, record) = start::find(runtime, id)?;
    let failed = |error: Errno| OciError::Signal {
        signal: signal.as_raw(),
        id: record.id.clone(),
        source: error.into(),
    };
    if words.has("all") {
        return all(&record, signal).map(|()| 0);
    }
    let status = record.status(&entry);
    if !matches!(status, Status::Created | Status::Running | Status::Paused) {
        return Err(OciError::State { id: record.id, state: GONE, verb: "killed" });
    }
    match send(&record, signal) {
        Ok(()) => Ok(0),
        Err(Errno::SRCH) => Err(OciError::State { id: record.id, state: GONE, verb: "killed" }),
        Err(error) => Err(failed(error)),
    }
}

/// Sends a signal to the very process that was made, and to no other that has got its number since.
pub fn send(record: &Record, signal: Signal) -> Result<(), Errno> {
    let pid = Pid::from_raw(record.pid).ok_or(Errno::SRCH)?;
    let process = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    if !record.is_alive() {
        return Err(Errno::SRCH);
    }
    rustix::process::pidfd_send_signal(&process, signal)
}

fn all(record: &Record, signal: Signal) -> Result<(), OciError> {
    let cgroup = record.cgroup();
    if signal == Signal::KILL {
        return if cgroup.exists() { Ok(cgroup.kill()?) } else { Ok(()) };
    }
    for pid in cgroup.all_processes().into_iter().filter_map(Pid::from_raw) {
        match rustix::process::kill_process(pid, signal) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => {
                let (signal, id) = (signal.as_raw(), record.id.clone());
                return Err(OciError::Signal { signal, id, source: error.into() });
            }
        }
    }
    Ok(())
}

/// A signal by its number or its name, with or without `SIG`.
fn parse(name: &str) -> Option<Signal> {
    if let Ok(number) = name.parse() {
        return signal_of(number);
    }
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let bare = if bare == "POLL" { "IO" } else { bare };
    if let Some(more) = bare.strip_prefix("RTMIN") {
        let more = if more.is_empty() { 0 } else { more.strip_prefix('+')?.parse().ok()? };
        return signal_of(REAL_TIME.checked_add(more)?).filter(|_| more >= 0);
    }
    if let Some(less) = bare.strip_prefix("RTMAX") {
        let less: i32 = if less.is_empty() { 0 } else { less.strip_prefix('-')?.parse().ok()? };
        return signal_of(64_i32.checked_sub(less)?).filter(|_| (0..=64 - REAL_TIME).contains(&less));
    }
    let index = NAMES.split_ascii_whitespace().position(|known| known == bare)?;
    signal_of(i32::try_from(index).ok()? + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_numbers_and_names() {
        let number = |name| parse(name).map(Signal::as_raw);
        for (name, expected) in [
            ("15", 15),
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigkill", 9),
            ("HUP", 1),
            ("SYS", 31),
            ("WINCH", 28),
            ("SIGRTMIN", 34),
            ("RTMIN+3", 37),
            ("RTMAX-1", 63),
        ] {
            assert_eq!(number(name), Some(expected), "{name}");
        }
        assert!(
            ["0", "65", "-9", "SIG", "NOTHING", "RTMIN+99", "RTMAX-99", ""]
                .iter()
                .all(|name| parse(name).is_none())
        );
    }
}
