//! A VMM's process and its guest's console. Nothing else runs while a guest does: every wait is a blocking one.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags};
use rustix::time::{ClockId, Timespec};

/// How long a guest may take to say something, and a VMM to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much of what was said is shown when it is not what was waited for.
const TAIL: usize = 500;

/// Seconds of the monotonic clock, which the tracer uses too.
pub fn now() -> f64 {
    let Timespec { tv_sec, tv_nsec } = rustix::time::clock_gettime(ClockId::Monotonic);
    // Exact: a lab lives for hours, not for 2^53 microseconds.
    #[allow(clippy::cast_precision_loss)]
    let seconds = tv_sec as f64 + tv_nsec as f64 / 1e9;
    seconds
}

/// A VMM's process, killed when dropped.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    complaints: File,
    patience: Duration,
}

impl Machine {
    /// Starts it with its console on pipes.
    pub fn start(mut command: Command) -> Result<Self> {
        let complaints = tempfile::tempfile()?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(complaints.try_clone()?);
        let child =
            command.spawn().with_context(|| format!("Cannot start {}", command.get_program().display()))?;
        Ok(Self { child, complaints, patience: PATIENCE })
    }

    /// Lets its guest say nothing for so long.
    pub fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Reads the console until it has said `marker`; gives all that it said.
    pub fn read_until(&mut self, marker: &str) -> Result<String> {
        let mut said = Vec::new();
        loop {
            match self.read(&mut said) {
                Ok(true) if contains(&said, marker) => return Ok(String::from_utf8_lossy(&said).into_owned()),
                Ok(true) => {}
                Ok(false) => {
                    bail!("It ended before its guest said {marker:?}, after: {}", self.last_words(&said))
                }
                Err(error) => bail!("{error:#}; it said: {}", self.last_words(&said)),
            }
        }
    }

    /// Types a line on the console.
    pub fn type_line(&mut self, line: &str) -> Result<()> {
        let stdin = self.child.stdin.as_mut().context("The VMM has no standard input")?;
        stdin.write_all(format!("{line}\n").as_bytes()).context("Cannot type on the guest's console")
    }

    /// Reads the console to its end and waits for the process.
    pub fn read_to_end(&mut self) -> Result<()> {
        while self.read(&mut Vec::new())? {}
        self.child.wait().context("Cannot wait for the VMM")?;
        Ok(())
    }

    /// Reads once; false at the end.
    fn read(&mut self, said: &mut Vec<u8>) -> Result<bool> {
        let stdout = self.child.stdout.as_mut().context("The VMM has no standard output")?;
        let patience = Timespec { tv_sec: i64::try_from(self.patience.as_secs())?, tv_nsec: 0 };
        let ready = rustix::event::poll(&mut [PollFd::new(stdout, PollFlags::IN)], Some(&patience))
            .context("Cannot wait")?;
        if ready == 0 {
            bail!("It said nothing for {} s", self.patience.as_secs());
        }
        let mut buffer = [0; 4096];
        let length = stdout.read(&mut buffer).context("Cannot read the guest's console")?;
        said.extend_from_slice(buffer.get(..length).unwrap_or_default());
        Ok(length > 0)
    }

    /// The end of what the guest said, and what the VMM complained of.
    fn last_words(&mut self, said: &[u8]) -> String {
        let tail = said.get(said.len().saturating_sub(TAIL)..).unwrap_or_default();
        let mut complaints = String::new();
        let _ = self.complaints.rewind().and_then(|()| self.complaints.read_to_string(&mut complaints));
        format!("{}; its standard error: {}", String::from_utf8_lossy(tail).trim(), complaints.trim())
    }
}

fn contains(said: &[u8], marker: &str) -> bool {
    said.windows(marker.len()).any(|window| window == marker.as_bytes())
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Machine {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Machine::start(command).unwrap()
    }

    #[test]
    fn a_console_is_read_to_the_marker_and_typed_on() {
        let mut machine = shell("echo up; read word; [ \"$word\" = off ] && echo down");
        assert_eq!(machine.read_until("up").unwrap(), "up\n");
        machine.type_line("off").unwrap();
        machine.read_until("down").unwrap();
        machine.read_to_end().unwrap();
    }

    #[test]
    fn a_process_that_ends_early_is_quoted() {
        let error = shell("echo starting; echo no kvm >&2").read_until("up").unwrap_err().to_string();
        assert!(error.contains("starting") && error.contains("no kvm"), "{error}");
    }
}
