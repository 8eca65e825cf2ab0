//! Runs mmdebstrap, whose tar stream comes through a pipe: no root file system is unpacked here.
//!
//! It is in a process group of its own, so that apt, dpkg and packages' scripts are ended with it. A process in that
//! group, the leash, waits for a line through a pipe: without one, since whoever started it all was killed or
//! interrupted, it ends the group.
//!
//! It checks packages by the signatures of the host's own apt keys. Packages' scripts are run by it, in a
//! chroot, as root or in a user namespace of its own.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::{DebianSpec, RootError};
use crate::cancellation::Cancellation;
use crate::oci::layer::{Assembly, LayerError};

/// How long it may take in all.
const TIME: Duration = Duration::from_secs(30 * 60);

/// How long it may take to clean up after itself when it is ended.
const CLEANING: Duration = Duration::from_secs(30);

/// How long a cancellation may go unnoticed.
const LOOK: Duration = Duration::from_millis(200);

/// What a shell does to become the program that its arguments name, on a leash. Its standard input is the pipe; $$ is
/// the leader of the group. The leash stays until the leader is gone, or has had its time, and is no part of output.
const LEASH: &str = r#"
exec 3<&0 </dev/null
(
    trap '' HUP INT TERM
    exec >/dev/null 2>&1
    read -r _ <&3 && exit
    kill -s TERM -- -$$
    seconds=0
    while [ $seconds -lt 30 ] && kill -0 $$; do
        sleep 1
        seconds=$((seconds + 1))
    done
    kill -s KILL -- -$$
) &
exec 3<&-
exec "$0" "$@"
"#;

/// The status of a shell that does not find a program.
const NOT_FOUND: i32 = 127;

/// How much of what it says is kept: the end, where the reason is, in bytes and lines.
const KEPT: usize = 8 << 10;
const KEPT_LINES: usize = 6;

/// Fills an empty root.
pub(super) fn assemble(
    spec: &DebianSpec,
    assembly: &mut Assembly<'_>,
    time: u64,
    cancellation: &Cancellation,
) -> Result<(), RootError> {
    let mut running = Running::start(command(spec, time), TIME, cancellation)?;
    let applied = match running.child.stdout.take() {
        Some(stdout) => assembly.apply(1, cancellation.stream(stdout)),
        None => Err(LayerError::NoEnd),
    };
    let refused = matches!(applied, Err(LayerError::Entry(..)));
    if refused {
        running.terminate();
    }
    let ended = running.finish()?;
    cancellation.check().map_err(RootError::Cancelled)?;
    match applied {
        _ if ended.code == Some(NOT_FOUND) => Err(RootError::Start(ErrorKind::NotFound.into())),
        Err(error) if refused => Err(RootError::Layer(error)),
        _ if ended.late => Err(RootError::Late(spec.clone(), TIME.as_secs())),
        _ if !ended.succeeded => Err(RootError::Failed(spec.clone(), ended.said)),
        applied => applied.map_err(RootError::Layer),
    }
}

/// A program on a leash.
fn leashed(program: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", LEASH, program]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0);
    command
}

fn command(spec: &DebianSpec, time: u64) -> Command {
    let mode = if rustix::process::geteuid().is_root() { "root" } else { "unshare" };
    let mut command = leashed("mmdebstrap");
    command.args(["--quiet", "--format=tar", "--architectures=amd64"]);
    command.arg(format!("--mode={mode}")).arg(format!("--variant={}", spec.variant));
    if !spec.include.is_empty() {
        command.arg(format!("--include={}", spec.include.join(",")));
    }
    command.args(["--", &spec.suite, "-"]).args(&spec.mirror);
    command.env("SOURCE_DATE_EPOCH", time.to_string()).env("LC_ALL", "C.UTF-8");
    command
}

struct Running {
    child: Child,
    pid: Pid,
    said: thread::JoinHandle<String>,
    watch: thread::JoinHandle<()>,
    late: Arc<AtomicBool>,
    /// Closed to end the watch.
    done: mpsc::Sender<()>,
}

struct Ended {
    succeeded: bool,
    /// Its status, where it ended by itself.
    code: Option<i32>,
    late: bool,
    said: String,
}

impl Running {
    fn start(mut command: Command, time: Duration, cancellation: &Cancellation) -> Result<Self, RootError> {
        let mut child = command.spawn().map_err(RootError::Start)?;
        let pid = Pid::from_child(&child);
        let stderr = child.stderr.take();
        let said = thread::spawn(move || stderr.map(end_of).unwrap_or_default());
        let (done, waits) = mpsc::channel();
        let late = Arc::new(AtomicBool::new(false));
        let watch = {
            let (late, cancellation) = (Arc::clone(&late), cancellation.clone());
            thread::spawn(move || watch(pid, time, &waits, &late, &cancellation))
        };
        Ok(Self { child, pid, said, watch, late, done })
    }

    fn terminate(&self) {
        // It may have ended meanwhile.
        let _ = rustix::process::kill_process_group(self.pid, Signal::TERM);
    }

    fn finish(mut self) -> Result<Ended, RootError> {
        // Its id stays taken until the watch, which would signal it, is over.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let waited = loop {
            match rustix::process::waitid(WaitId::Pid(self.pid), options) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other.map_err(|error| RootError::Wait(error.into())),
            }
        };
        drop(self.done);
        let _ = self.watch.join();
        waited?;
        if let Some(mut leash) = self.child.stdin.take() {
            // A leash that was killed with its group needs no word.
            let _ = leash.write_all(b"\n");
        }
        let status = self.child.wait().map_err(RootError::Wait)?;
        let said = self.said.join().unwrap_or_default();
        let said = if said.is_empty() { format!("it ended with {status}") } else { said };
        Ok(Ended {
            succeeded: status.success(),
            code: status.code(),
            late: self.late.load(Ordering::Relaxed),
            said,
        })
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

    fn shell(script: &str, time: Duration, cancellation: &Cancellation) -> Ended {
        let mut command = leashed("sh");
        command.args(["-c", script]).stdout(Stdio::null());
        Running::start(command, time, cancellation).unwrap().finish().unwrap()
    }

    #[test]
    fn the_last_lines_are_told() {
        let never = Cancellation::default();
        let ended = shell("seq 1 20000 >&2; printf '\\033[1m\\n' >&2; exit 3", TIME, &never);
        assert!(!ended.succeeded && !ended.late);
        assert_eq!(ended.said, "19996; 19997; 19998; 19999; 20000; [1m");
        assert_eq!(shell("exit 3", TIME, &never).said, "it ended with exit status: 3");
    }

    #[test]
    fn what_does_not_end_is_ended_with_all_its_children() {
        let ended = shell("sleep 1000 & wait", Duration::from_millis(10), &Cancellation::default());
        assert!(ended.late && !ended.succeeded);
    }

    #[test]
    fn what_nobody_waits_for_is_ended_with_all_its_children() {
        let cancellation = Cancellation::default();
        cancellation.cancel();
        // Its standard error is read to the end: nobody is left who has it.
        let ended = shell("sleep 1000 & wait", TIME, &cancellation);
        assert!(!ended.late && !ended.succeeded);
    }

    #[test]
    fn a_program_that_is_not_there_is_told_apart() {
        let running = Running::start(leashed("bulkhead-no-program"), TIME, &Cancellation::default());
        assert_eq!(running.unwrap().finish().unwrap().code, Some(NOT_FOUND));
    }
}
