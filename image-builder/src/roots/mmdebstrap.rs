//! Runs mmdebstrap, whose tar stream comes through a pipe: no root file system is unpacked here.
//!
//! It checks packages by the signatures of the host's own apt keys. Packages' scripts are run by it, in a
//! chroot, as root or in a user namespace of its own.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::{DebianSpec, RootError};
use crate::oci::layer::{Assembly, LayerError};

/// How long it may take in all.
const TIME: Duration = Duration::from_secs(30 * 60);

/// How long it may take to clean up after itself when it is ended.
const CLEANING: Duration = Duration::from_secs(30);

/// How much of what it says is kept: the end, where the reason is, in bytes and lines.
const KEPT: usize = 8 << 10;
const KEPT_LINES: usize = 6;

/// Fills an empty root.
pub(super) fn assemble(
    spec: &DebianSpec,
    assembly: &mut Assembly<'_>,
    time: u64,
    program: &Path,
) -> Result<(), RootError> {
    let mut running = Running::start(command(spec, time, program), TIME)?;
    let applied = match running.child.stdout.take() {
        Some(stdout) => assembly.apply(1, stdout),
        None => Err(LayerError::NoEnd),
    };
    let refused = matches!(applied, Err(LayerError::Entry(..)));
    if refused {
        running.terminate();
    }
    let ended = running.finish()?;
    match applied {
        Err(error) if refused => Err(RootError::Layer(error)),
        _ if ended.late => Err(RootError::Late(spec.clone(), TIME.as_secs())),
        _ if !ended.succeeded => Err(RootError::Failed(spec.clone(), ended.said)),
        applied => applied.map_err(RootError::Layer),
    }
}

fn command(spec: &DebianSpec, time: u64, program: &Path) -> Command {
    let mode = if rustix::process::geteuid().is_root() { "root" } else { "unshare" };
    let mut command = Command::new(program);
    command.args(["--quiet", "--format=tar", "--architectures=amd64"]);
    command.arg(format!("--mode={mode}")).arg(format!("--variant={}", spec.variant));
    if !spec.include.is_empty() {
        command.arg(format!("--include={}", spec.include.join(",")));
    }
    command.args(["--", &spec.suite, "-"]).args(&spec.mirror);
    command.env("SOURCE_DATE_EPOCH", time.to_string()).env("LC_ALL", "C.UTF-8");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own, so that apt and dpkg are ended with it.
    command.process_group(0);
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
    late: bool,
    said: String,
}

impl Running {
    fn start(mut command: Command, time: Duration) -> Result<Self, RootError> {
        let mut child = command.spawn().map_err(RootError::Start)?;
        let pid = Pid::from_child(&child);
        let stderr = child.stderr.take();
        let said = thread::spawn(move || stderr.map(end_of).unwrap_or_default());
        let (done, waits) = mpsc::channel();
        let late = Arc::new(AtomicBool::new(false));
        let watch = {
            let late = Arc::clone(&late);
            thread::spawn(move || watch(pid, time, &waits, &late))
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
        let status = self.child.wait().map_err(RootError::Wait)?;
        let said = self.said.join().unwrap_or_default();
        let said = if said.is_empty() { format!("it ended with {status}") } else { said };
        Ok(Ended { succeeded: status.success(), late: self.late.load(Ordering::Relaxed), said })
    }
}

fn watch(pid: Pid, time: Duration, waits: &Receiver<()>, late: &AtomicBool) {
    for (time, signal) in [(time, Signal::TERM), (CLEANING, Signal::KILL)] {
        if waits.recv_timeout(time) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        late.store(true, Ordering::Relaxed);
        let _ = rustix::process::kill_process_group(pid, signal);
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

    fn shell(script: &str, time: Duration) -> Ended {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        Running::start(command, time).unwrap().finish().unwrap()
    }

    #[test]
    fn the_last_lines_are_told() {
        let ended = shell("seq 1 20000 >&2; printf '\\033[1m\\n' >&2; exit 3", TIME);
        assert!(!ended.succeeded && !ended.late);
        assert_eq!(ended.said, "19996; 19997; 19998; 19999; 20000; [1m");
        assert_eq!(shell("exit 3", TIME).said, "it ended with exit status: 3");
    }

    #[test]
    fn what_does_not_end_is_ended_with_all_its_children() {
        let ended = shell("sleep 1000 & wait", Duration::from_millis(10));
        assert!(ended.late && !ended.succeeded);
    }
}
