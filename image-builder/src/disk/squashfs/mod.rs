//! Writes squashfs file systems by tar2sqfs of squashfs-tools-ng: compressed with zstd, for images whose size counts.
//! The tree goes to its standard input as a tar; what it makes goes to a file without a name, and from there to the
//! disk. Equal trees give equal bytes.
//!
//! Why not `sqfstar` of squashfs-tools: in Debian's 4.5.1 the root belongs to root and has the time of the build,
//! whatever is asked for, and times after 2038 are refused where an extended header tells them.

mod archive;

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::thread;
use std::time::Duration;

use thiserror::Error;

use super::Sink;
use crate::cancellation::{Cancellation, Cancelled};
use crate::limits::Limits;
use crate::program::{Ended, ProgramError, Running};
use crate::tree::{Bodies, Tree};

/// The program.
const PROGRAM: &str = "tar2sqfs";

/// How long it may take in all.
const TIME: Duration = Duration::from_secs(30 * 60);

/// How many threads compress; what they make does not depend on it.
const MAX_THREADS: usize = 16;

/// What is on its way to the program is written in pieces of this many bytes.
const PIECE: usize = 256 << 10;

/// Why a file system cannot be written.
#[derive(Debug, Error)]
pub enum SquashfsError {
    /// Something that this kind of file system has no place for.
    #[error("A squashfs cannot hold {0:?}: {1}")]
    Unfit(String, &'static str),
    /// More than the two-byte numbers of owners allow.
    #[error("A squashfs cannot hold more than {0} different owners and groups")]
    Owners(usize),
    /// The time of making.
    #[error("A squashfs cannot hold the time {0}, which is after 2106-02-07")]
    Time(u64),
    /// The files would be too large.
    #[error("The files, with their holes, are larger than {0} bytes together")]
    TooLarge(u64),
    /// The program cannot be started.
    #[error("Cannot start tar2sqfs, which makes squashfs file systems (Debian's package squashfs-tools-ng)")]
    Start(#[source] io::Error),
    /// It cannot be waited for.
    #[error("Cannot wait for tar2sqfs")]
    Wait(#[source] io::Error),
    /// It failed, or left something out.
    #[error("tar2sqfs cannot make the root file system: {0}")]
    Failed(String),
    /// It does not end.
    #[error("tar2sqfs took longer than {0} seconds and was ended")]
    Late(u64),
    /// Nobody waits for it any more.
    #[error("tar2sqfs was ended")]
    Cancelled(#[source] Cancelled),
    /// The file cannot be written, or the spill file cannot be read.
    #[error("Cannot write the root file system")]
    Write(#[from] io::Error),
}

impl From<ProgramError> for SquashfsError {
    fn from(error: ProgramError) -> Self {
        match error {
            ProgramError::Start(error) => Self::Start(error),
            ProgramError::Wait(error) => Self::Wait(error),
        }
    }
}

/// Writes `tree` to `sink`. `build_time` is in seconds since 1970; `scratch` is a folder for a temporary file without
/// a name. Refused where the files have more bytes than `limits` allow. It is a whole number of 4 KiB.
pub fn write(
    tree: &Tree,
    bodies: &Bodies,
    build_time: u64,
    limits: &Limits,
    scratch: &Path,
    sink: &mut Sink<'_>,
) -> Result<(), SquashfsError> {
    let time = u32::try_from(build_time).map_err(|_| SquashfsError::Time(build_time))?;
    let mut made = tempfile::tempfile_in(scratch)?;
    let cancellation = &limits.cancellation;
    make(command(PROGRAM, time, &made)?, cancellation, |out| archive::write(tree, bodies, limits.data, out))?;
    made.rewind()?;
    io::copy(&mut made, sink)?;
    Ok(())
}

/// Runs a program that reads what `send` writes.
fn make(
    command: Command,
    cancellation: &Cancellation,
    send: impl FnOnce(&mut BufWriter<ChildStdin>) -> Result<(), SquashfsError>,
) -> Result<(), SquashfsError> {
    let mut running = Running::start(command, TIME, cancellation)?;
    let sent = match running.stdin() {
        Some(stdin) => {
            let mut out = BufWriter::with_capacity(PIECE, stdin);
            send(&mut out).and_then(|()| Ok(out.flush()?))
        }
        None => Err(io::Error::from(io::ErrorKind::BrokenPipe).into()),
    };
    match &sent {
        // A program that ends before it has read everything says why.
        Err(SquashfsError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
        // It is ended where it goes out of scope.
        Err(_) => return sent,
        Ok(()) => {}
    }
    let ended = running.finish()?;
    cancellation.check().map_err(SquashfsError::Cancelled)?;
    judge(ended)?;
    sent
}

/// Whether it has made all of it: whatever it says is of something that it leaves out.
fn judge(ended: Ended) -> Result<(), SquashfsError> {
    match ended {
        Ended { late: true, .. } => Err(SquashfsError::Late(TIME.as_secs())),
        Ended { succeeded: true, ref said, .. } if said.is_empty() => Ok(()),
        ended => Err(SquashfsError::Failed(ended.reason())),
    }
}

/// The program writes to `made` by its descriptor, which it has as its standard output: one that cannot be written,
/// so that no word of it gets into the file.
fn command(program: &str, time: u32, made: &File) -> io::Result<Command> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    let mut command = Command::new(program);
    command.args(["--quiet", "--force", "--no-skip", "--compressor", "zstd"]);
    command.args(["--num-jobs", &threads.to_string(), "--defaults", &format!("mtime={time}")]);
    command.arg("/proc/self/fd/1");
    command.env_remove("SOURCE_DATE_EPOCH").env("LC_ALL", "C.UTF-8");
    let unwritable = File::open(format!("/proc/self/fd/{}", made.as_raw_fd()))?;
    command.stdin(Stdio::piped()).stdout(unwritable);
    Ok(command)
}

#[cfg(test)]
#[path = "squashfs_tests.rs"]
mod tests;
