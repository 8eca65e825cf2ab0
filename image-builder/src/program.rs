//! Runs a program of the system's with a time limit: it is ended and reaped on every path, and what it said last
//! is kept for a sentence.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use thiserror::Error;

use crate::cancellation::Cancellation;

/// How long a program may take to clean up after itself when it is ended.
const CLEANING: Duration = Duration::from_secs(30);

/// How long a cancellation may go unnoticed.
const LOOK: Duration = Duration::from_millis(200);

/// How much of what it says is kept: the end, where the reason is, in bytes and lines.
const KEPT: usize = 8 << 10;
const KEPT_LINES: usize = 6;

/// Why a program cannot be run.
#[derive(Debug, Error)]
pub(crate) enum ProgramError {
    /// It cannot be started.
    #[error("Cannot start the program")]
    Start(#[source] io::Error),
    /// It cannot be waited for.
    #[error("Cannot wait for the program")]
    Wait(#[source] io::Error),
}

/// A program that runs, in a process group of its own so that its children are ended with it. Dropped before its end
/// it is killed and reaped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    pid: Pid,
    said: Option<thread::JoinHandle<String>>,
    watch: Option<thread::JoinHandle<()>>,
    late: Arc<AtomicBool>,
    /// Closed to end the watch.
    done: Option<mpsc::Sender<()>>,
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// By itself, with the status 0.
    pub succeeded: bool,
    /// Its status, where it ended by itself.
    pub code: Option<i32>,
    /// By us, since it took too long.
    pub late: bool,
    /// The last lines of its standard error, as one line; empty where it said nothing.
    pub said: String,
    status: String,
}

impl Ended {
    /// What it said last, or else how it ended.
    pub(crate) fn reason(self) -> String {
        if self.said.is_empty() { format!("it ended with {}", self.status) } else { self.said }
    }
}

impl Running {
    /// Starts `command`, whose standard error is taken here. After `time`, or when nobody waits for it any more, it is
    /// asked to end, and 30 seconds later killed.
    pub(crate) fn start(
        mut command: Command,
        time: Duration,
        cancellation: &Cancellation,
    ) -> Result<Self, ProgramError> {
        command.stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(ProgramError::Start)?;
        let pid = Pid::from_child(&child);
        let stderr = child.stderr.take();
        let said = thread::spawn(move || stderr.map(end_of).unwrap_or_default());
        let (done, waits) = mpsc::channel();
        let late = Arc::new(AtomicBool::new(false));
        let watch = {
            let (late, cancellation) = (Arc::clone(&late), cancellation.clone());
            thread::spawn(move || watch(pid, time, &waits, &late, &cancellation))
        };
        Ok(Self { child, pid, said: Some(said), watch: Some(watch), late, done: Some(done) })
    }

    /// What the program reads, where that is a pipe and was not taken yet.
    pub(crate) fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// What the program writes, where that is a pipe and was not taken yet.
    pub(crate) fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        // It may have ended meanwhile.
        let _ = rustix::process::kill_process_group(self.pid, Signal::TERM);
    }

    /// Waits until it has ended. What it reads from and writes to must have been closed; where its input was not taken, a
    /// line there tells whoever reads it of the end.
    pub(crate) fn finish(mut self) -> Result<Ended, ProgramError> {
        self.end()
    }

    fn end(&mut self) -> Result<Ended, ProgramError> {
        // Its id stays taken until the watch, which would signal it, is over.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let waited = loop {
            match rustix::process::waitid(WaitId::Pid(self.pid), options) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other.map_err(|error| ProgramError::Wait(error.into())),
            }
        };
        drop(self.done.take());
        self.watch.take().map(thread::JoinHandle::join);
        waited?;
        if let Some(mut stdin) = self.child.stdin.take() {
            // Nobody may be left who reads it.
            let _ = stdin.write_all(b"\n");
        }
        let status = self.child.wait().map_err(ProgramError::Wait)?;
        let said = self.said.take().and_then(|said| said.join().ok()).unwrap_or_default();
        let late = self.late.load(Ordering::Relaxed);
        let (succeeded, code) = (status.success(), status.code());
        Ok(Ended { succeeded, code, late, said, status: status.to_string() })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.done.is_some() {
            let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
            let _ = self.end();
        }
    }
}

/// Ends the group where it takes too long or nobody waits for it any more.
fn watch(pid: Pid, time: Duration, waits: &Receiver<()>, late: &AtomicBool, cancellation: &Cancellation) {
    if !outlasts(time, waits, &|| cancellation.is_cancelled()) {
        return;
    }
    late.store(!cancellation.is_cancelled(), Ordering::Relaxed);
    let _ = rustix::process::kill_process_group(pid, Signal::TERM);
    if outlasts(CLEANING, waits, &|| false) {
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    }
}

/// Whether it goes on for so long, or until `over` says so.
fn outlasts(time: Duration, waits: &Receiver<()>, over: &dyn Fn() -> bool) -> bool {
    let start = Instant::now();
    loop {
        let left = time.saturating_sub(start.elapsed());
        if left.is_zero() || over() {
            return true;
        }
        if waits.recv_timeout(left.min(LOOK)) != Err(RecvTimeoutError::Timeout) {
            return false;
        }
    }
}

/// The last lines of a stream, as one.
fn end_of(mut stream: impl Read) -> String {
    let mut kept = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut piece) {
        kept.extend_from_slice(&piece[..read]);
        let over = kept.len().saturating_sub(KEPT);
        kept.drain(..over);
    }
    let text = String::from_utf8_lossy(&kept);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let lines = lines[lines.len().saturating_sub(KEPT_LINES)..].join("; ");
    lines.chars().filter(|char| !char.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn start(script: &str, time: Duration, cancellation: &Cancellation) -> Running {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::null());
        Running::start(command, time, cancellation).unwrap()
    }

    fn shell(script: &str, time: Duration) -> Ended {
        start(script, time, &Cancellation::default()).finish().unwrap()
    }

    #[test]
    fn the_last_lines_are_told() {
        let ended = shell("seq 1 20000 >&2; printf '\\033[1m\\n' >&2; exit 3", LONG);
        assert!(!ended.succeeded && !ended.late);
        assert_eq!(ended.reason(), "19996; 19997; 19998; 19999; 20000; [1m");
        assert_eq!(shell("exit 3", LONG).reason(), "it ended with exit status: 3");
    }

    #[test]
    fn what_does_not_end_is_ended_with_all_its_children() {
        let ended = shell("sleep 1000 & wait", Duration::from_millis(10));
        assert!(ended.late && !ended.succeeded);
    }

    #[test]
    fn what_nobody_waits_for_is_ended_with_all_its_children() {
        let cancellation = Cancellation::default();
        cancellation.cancel();
        // Its standard error is read to the end: nobody is left who has it.
        let ended = start("sleep 1000 & wait", LONG, &cancellation).finish().unwrap();
        assert!(!ended.late && !ended.succeeded);
    }

    #[test]
    fn what_is_dropped_is_killed_and_reaped() {
        let running = start("trap '' TERM; cat; sleep 1000", LONG, &Cancellation::default());
        let pid = running.pid;
        drop(running);
        assert_eq!(rustix::process::test_kill_process(pid), Err(rustix::io::Errno::SRCH));
    }
}
