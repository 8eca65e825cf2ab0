//! Processes with an end: every wait is on a descriptor, up to a deadline.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags};

/// How a command ended and what it said.
#[derive(Debug)]
pub struct Ran {
    /// Its exit status; 128 + the signal that ended it.
    pub status: i32,
    /// Standard output, as far as it came through this command's pipe.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// The same, if its status is 0.
    pub fn ok(self, what: &str) -> Result<Self> {
        ensure!(
            self.status == 0,
            "{what} ended with {}: {} {}",
            self.status,
            self.stderr.trim(),
            self.stdout.trim()
        );
        Ok(self)
    }
}

/// The end of a pipe that is read.
#[derive(Debug)]
pub struct Reader {
    pipe: File,
    text: Vec<u8>,
    ended: bool,
}

impl Reader {
    /// A pipe: what is read from, and what a process writes to.
    pub fn pair() -> Result<(Self, OwnedFd)> {
        let (read, write) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context("Cannot make a pipe")?;
        rustix::fs::fcntl_setfl(&read, OFlags::NONBLOCK).context("Cannot read without waiting")?;
        Ok((Self { pipe: File::from(read), text: Vec::new(), ended: false }, write))
    }

    /// The descriptor, to wait for.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// What was read.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.text).into_owned()
    }

    /// Reads what is there.
    pub fn drain(&mut self) -> Result<()> {
        let mut buffer = [0; 16384];
        loop {
            match self.pipe.read(&mut buffer) {
                Ok(0) => {
                    self.ended = true;
                    return Ok(());
                }
                Ok(length) => self.text.extend_from_slice(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("Cannot read what a process says"),
            }
        }
    }

    /// Reads until the text has this in it.
    pub fn until(&mut self, wanted: &str, deadline: Instant) -> Result<()> {
        loop {
            self.drain()?;
            if self.text().contains(wanted) {
                return Ok(());
            }
            ensure!(!self.ended, "the output ended without {wanted:?}: {:?}", self.text());
            wait_readable(&[self.pipe.as_fd()], deadline)
                .with_context(|| format!("{wanted:?} was not said, but {:?}", self.text()))?;
        }
    }
}

/// Waits until one of the descriptors has something to read, or has ended.
pub fn wait_readable(descriptors: &[BorrowedFd<'_>], deadline: Instant) -> Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).context("Cannot wait for so long")?;
        let mut polled: Vec<PollFd<'_>> = descriptors
            .iter()
            .map(|descriptor| PollFd::from_borrowed_fd(*descriptor, PollFlags::IN))
            .collect();
        match poll(&mut polled, Some(&left)) {
            Ok(0) => bail!("the time was up"),
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("Cannot wait"),
        }
    }
}

/// A descriptor of a process, which tells of its end.
pub fn pidfd(process: u32) -> Result<OwnedFd> {
    rustix::process::pidfd_open(pid(process)?, PidfdFlags::empty())
        .with_context(|| format!("There is no process {process}"))
}

/// A process's number as the kernel's calls take it.
pub fn pid(process: u32) -> Result<Pid> {
    i32::try_from(process).ok().and_then(Pid::from_raw).with_context(|| format!("{process} is no process"))
}

/// Runs a command to its end, with its output going to `reader`, whose other end is `writer`, and its errors to the
/// file `errors`.
pub fn run(
    mut command: Command,
    reader: &mut Reader,
    writer: OwnedFd,
    errors: &Path,
    deadline: Instant,
) -> Result<Ran> {
    let file = File::create(errors).with_context(|| format!("Cannot make {}", errors.display()))?;
    let shown = format!("{command:?}");
    command.stdin(Stdio::null()).stdout(writer).stderr(file);
    let mut child = command.spawn().with_context(|| format!("Cannot start {shown}"))?;
    drop(command);
    let status = end(&mut child, Some(reader), deadline);
    let stderr = String::from_utf8_lossy(&fs::read(errors).unwrap_or_default()).into_owned();
    let status = status.with_context(|| format!("{shown} did not end: {}", stderr.trim()))?;
    Ok(Ran { status, stdout: reader.text(), stderr })
}

/// Runs a command to its end, with a pipe of its own.
pub fn run_alone(command: Command, errors: &Path, deadline: Instant) -> Result<Ran> {
    let (mut reader, writer) = Reader::pair()?;
    run(command, &mut reader, writer, errors, deadline)
}

/// Waits for a child; it is killed when the time is up. Meanwhile reads what it says.
pub fn end(child: &mut Child, mut reader: Option<&mut Reader>, deadline: Instant) -> Result<i32> {
    let process = pidfd(child.id())?;
    loop {
        let mut waited = vec![process.as_fd()];
        if let Some(reader) = reader.as_deref().filter(|reader| !reader.ended) {
            waited.push(reader.pipe.as_fd());
        }
        if let Err(error) = wait_readable(&waited, deadline) {
            let _ = child.kill();
            let _ = child.wait();
            return Err(error);
        }
        let status = child.try_wait().context("Cannot wait for a child")?;
        if let Some(reader) = reader.as_deref_mut() {
            reader.drain()?;
        }
        if let Some(status) = status {
            return Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
        }
    }
}

/// A process beside the container: to join its namespaces, or to disturb. Killed when dropped.
#[derive(Debug)]
pub struct Holder {
    child: Child,
}

impl Holder {
    /// Starts it, and waits until it says `ready`.
    pub fn start(mut command: Command, deadline: Instant) -> Result<Self> {
        let (mut said, writer) = Reader::pair()?;
        let shown = format!("{command:?}");
        command.stdin(Stdio::null()).stdout(writer);
        let child = command.spawn().with_context(|| format!("Cannot start {shown}"))?;
        drop(command);
        let holder = Self { child };
        said.until("ready", deadline).with_context(|| format!("{shown} is not ready"))?;
        Ok(holder)
    }

    /// A process that util-linux' `unshare` puts into namespaces of its own: `options` say which.
    pub fn unshare(options: &[&str], deadline: Instant) -> Result<Self> {
        let mut command = Command::new("unshare");
        command.args(options).args(["sh", "-c", "echo ready; exec sleep 1000"]);
        Self::start(command, deadline)
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
