//! Commands with an end.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How a command ended and what it said.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status; 128 + the signal that ended it.
    pub status: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Finished {
    /// The same, after a check that the status is 0.
    ///
    /// # Panics
    /// When it is not; the message shows the output.
    #[must_use]
    pub fn ok(self) -> Self {
        assert_eq!(self.status, 0, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Standard output without white space at its ends.
    #[must_use]
    pub fn text(&self) -> &str {
        self.stdout.trim()
    }
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started or is not done within `limit`; it is killed then.
#[must_use]
pub fn run(command: &mut Command, limit: Duration) -> Finished {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    finish(child, limit, &format!("{command:?}"))
}

/// Waits for a child whose output is piped.
///
/// # Panics
/// When it is not done within `limit`; it is killed then.
#[must_use]
pub fn finish(mut child: Child, limit: Duration, what: &str) -> Finished {
    let stdout = child.stdout.take().map(|pipe| thread::spawn(move || drain(pipe)));
    let stderr = child.stderr.take().map(|pipe| thread::spawn(move || drain(pipe)));
    let end = Instant::now() + limit;
    let status = loop {
        match child.try_wait().expect("wait") {
            Some(status) => break Some(status),
            None if Instant::now() >= end => break None,
            None => thread::sleep(Duration::from_millis(20)),
        }
    };
    if status.is_none() {
        child.kill().expect("kill");
        child.wait().expect("wait");
    }
    let stdout = stdout.map(|reader| reader.join().expect("reader")).unwrap_or_default();
    let stderr = stderr.map(|reader| reader.join().expect("reader")).unwrap_or_default();
    let Some(status) = status else {
        panic!("{what} is not done after {limit:?}\nstdout: {stdout}\nstderr: {stderr}");
    };
    use std::os::unix::process::ExitStatusExt;
    let status = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Finished { status, stdout, stderr }
}

fn drain(mut pipe: impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = pipe.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}
