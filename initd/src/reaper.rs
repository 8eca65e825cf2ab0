//! The only wait() in the program. Process 1 inherits every orphan of the guest; whoever ends is reaped here,
//! and the end of a child that somebody asked about is told to them.
#![allow(unsafe_code, reason = "ptrace(2), to let go of a child that made this process its tracer")]

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, PoisonError};

use rustix::process::{Pid, WaitOptions, WaitStatus};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// The exit code; 128 + the signal where a signal ended it.
    pub code: u8,
    /// That signal.
    pub signal: Option<i32>,
}

impl Exit {
    fn from_status(status: WaitStatus) -> Self {
        if let Some(signal) = status.terminating_signal() {
            let code = u8::try_from(128 + signal).unwrap_or(u8::MAX);
            return Self { code, signal: Some(signal) };
        }
        let code = status.exit_status().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX);
        Self { code, signal: None }
    }
}

/// Waits for the end of a child, in a program that has no [`Reaper`].
pub fn wait_for(pid: i32) -> io::Result<Exit> {
    loop {
        match wait_child(pid, WaitOptions::empty()) {
            Ok(Some(exit)) => return Ok(exit),
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
    }
}

/// How a child has ended, or nothing where it has not.
pub fn look_for(pid: i32) -> io::Result<Option<Exit>> {
    wait_child(pid, WaitOptions::NOHANG)
}

/// Reaps somebody who has ended, whoever it is, in a program that has no [`Reaper`]; nothing where nobody has.
pub fn reap_any() -> Option<(i32, Exit)> {
    let (pid, status) = rustix::process::wait(WaitOptions::NOHANG).ok()??;
    Some((pid.as_raw_nonzero().get(), Exit::from_status(status)))
}

fn wait_child(pid: i32, options: WaitOptions) -> io::Result<Option<Exit>> {
    let found = rustix::process::waitpid(Pid::from_raw(pid), options)?;
    Ok(found.map(|(_, status)| Exit::from_status(status)))
}

/// Knows who waits for whom.
#[derive(Debug, Default)]
pub struct Reaper {
    children: Mutex<HashMap<i32, oneshot::Sender<Exit>>>,
}

impl Reaper {
    /// Makes a child by `make`, which returns its process id and something else, and promises to tell its end.
    ///
    /// No child is reaped meanwhile, so that one that ends at once is not lost.
    pub fn adopt<T, E>(
        &self,
        make: impl FnOnce() -> Result<(i32, T), E>,
    ) -> Result<(T, oneshot::Receiver<Exit>), E> {
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        let (pid, made) = make()?;
        let (sender, receiver) = oneshot::channel();
        children.insert(pid, sender);
        Ok((made, receiver))
    }

    /// Begins to hear of children's ends. Called before the first child is made.
    pub fn listen() -> io::Result<Signal> {
        signal(SignalKind::child())
    }

    /// Reaps for ever.
    pub async fn run(&self, mut signals: Signal) {
        loop {
            self.reap_all();
            if signals.recv().await.is_none() {
                return;
            }
        }
    }

    fn reap_all(&self) {
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if status.stopped() {
                let_go(pid, status);
                continue;
            }
            if let Some(waiting) = children.remove(&pid.as_raw_nonzero().get()) {
                // Whoever asked may have gone; then nobody needs to know.
                let _ = waiting.send(Exit::from_status(status));
            }
        }
    }
}

/// Lets a child go on that has said PTRACE_TRACEME and has stopped, which `wait` then tells though nobody
/// asked. Its container would stand still, or be taken for ended.
fn let_go(pid: Pid, status: WaitStatus) {
    let signal = status.stopping_signal().filter(|signal| *signal != libc::SIGTRAP).unwrap_or(0);
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: PTRACE_DETACH takes no pointer but a signal's number; it fails where `pid` is not our tracee.
    unsafe {
        libc::ptrace(libc::PTRACE_DETACH, pid.as_raw_nonzero().get(), nothing, libc::c_long::from(signal))
    };
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn spawn(reaper: &Reaper, script: &str) -> oneshot::Receiver<Exit> {
        let make = || {
            let child = std::process::Command::new("/bin/sh").args(["-c", script]).spawn()?;
            Ok::<_, io::Error>((child.id().cast_signed(), ()))
        };
        reaper.adopt(make).unwrap().1
    }

    #[tokio::test]
    async fn every_end_is_told_to_who_asked() {
        let reaper = Arc::new(Reaper::default());
        let signals = Reaper::listen().unwrap();
        let ends: Vec<_> =
            ["exit 0", "exit 42", "kill -TERM $$", "exit 255"].map(|script| spawn(&reaper, script)).into();
        let running = Arc::clone(&reaper);
        let task = tokio::spawn(async move { running.run(signals).await });
        let mut seen = Vec::new();
        for end in ends {
            seen.push(end.await.unwrap());
        }
        let exit = |code, signal| Exit { code, signal };
        assert_eq!(seen, [exit(0, None), exit(42, None), exit(143, Some(15)), exit(255, None)]);
        task.abort();
    }

    #[tokio::test]
    async fn a_child_that_wants_to_be_traced_is_let_go() {
        use std::os::unix::process::CommandExt as _;
        let reaper = Arc::new(Reaper::default());
        let signals = Reaper::listen().unwrap();
        let make = || {
            let mut command = std::process::Command::new("/bin/sh");
            command.args(["-c", "kill -USR1 $$; exit 1"]);
            let trace_me = || {
                // SAFETY: PTRACE_TRACEME takes no arguments and touches no memory.
                match unsafe { libc::ptrace(libc::PTRACE_TRACEME) } {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                }
            };
            // SAFETY: the closure makes one system call and allocates nothing.
            let child = unsafe { command.pre_exec(trace_me) }.spawn()?;
            Ok::<_, io::Error>((child.id().cast_signed(), ()))
        };
        let end = reaper.adopt(make).unwrap().1;
        let running = Arc::clone(&reaper);
        let task = tokio::spawn(async move { running.run(signals).await });
        let seen = tokio::time::timeout(std::time::Duration::from_secs(10), end).await;
        assert_eq!(seen.unwrap().unwrap(), Exit { code: 138, signal: Some(10) });
        task.abort();
    }
}
