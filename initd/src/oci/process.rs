//! Containers' processes: making them, and speaking with them until they are programs.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::error::OciError;
use crate::container::spawn::{self, Gate, Program, SpawnError};
use crate::container::stage;
use crate::isolation::cgroup::Cgroup;
use crate::reaper;

/// The longest message of a container's process, in bytes.
const MAX_MESSAGE: u64 = 64 << 10;

/// This program, for containers' processes.
pub fn program() -> Result<Program, OciError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open("/proc/self/exe", flags, Mode::empty())
        .map(Program::once)
        .map_err(OciError::file("open this program,", "/proc/self/exe"))
}

/// A process that has just been made.
pub struct Child {
    /// Its id.
    pub pid: i32,
    /// Itself.
    pub process: OwnedFd,
    /// Where it speaks.
    pub control: UnixStream,
    /// Where it waits for its user namespace.
    pub gate: Option<Gate>,
}

/// Makes a process that does what `config` says with the descriptors `handed`.
pub fn spawn(
    program: &Program,
    flags: u64,
    cgroup: BorrowedFd<'_>,
    config: &stage::Config,
    handed: &[BorrowedFd<'_>],
) -> Result<Child, OciError> {
    let text = serde_json::to_vec(config).map_err(|error| OciError::Output(error.into()))?;
    let config = spawn::memory_file(&text)?;
    let (control, other) = UnixStream::pair().map_err(|error| SpawnError::Descriptor("control", error))?;
    let mut descriptors = vec![other.as_fd(), config.as_fd()];
    descriptors.extend(handed);
    let child = spawn::spawn(program, flags, cgroup, &descriptors)?;
    Ok(Child { pid: child.pid, process: child.process, control, gate: child.gate })
}

/// What a process says that goes on.
pub enum Heard {
    /// All is ready.
    Prepared,
    /// Hooks are to be run.
    Hooks,
}

/// Hears a process.
pub fn hear(control: &mut UnixStream) -> Result<Heard, io::Result<String>> {
    let mut word = [0];
    match control.read_exact(&mut word) {
        Ok(()) if word == [stage::PREPARED] => Ok(Heard::Prepared),
        Ok(()) if word == [stage::HOOKS] => Ok(Heard::Hooks),
        Ok(()) => Err(rest(word[0], control)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(Err(io::Error::other("its process ended without a word")))
        }
        Err(error) => Err(Err(error)),
    }
}

/// Waits until the process has become its program. A connection that is reset is one whose word nobody has read:
/// somebody else has started the container.
pub fn begun(control: &mut UnixStream) -> Result<(), io::Result<String>> {
    let mut word = [0];
    match control.read(&mut word) {
        // A process that is killed then closes without a word, too; that shows in its end.
        Ok(0) => Ok(()),
        Ok(_) => Err(rest(word[0], control)),
        Err(error) => Err(Err(error)),
    }
}

fn rest(first: u8, control: &mut UnixStream) -> io::Result<String> {
    let mut text = vec![first];
    control.take(MAX_MESSAGE).read_to_end(&mut text)?;
    Ok(serde_json::from_slice::<stage::Report>(&text)?.message)
}

/// The error of a verb whose process failed, or could not be heard.
pub fn failure(verb: &'static str, id: &str, heard: io::Result<String>, cgroup: Option<&Cgroup>) -> OciError {
    let id = id.to_owned();
    match heard {
        Ok(message) => OciError::Stage { verb, id, message },
        Err(_) if cgroup.is_some_and(Cgroup::oom_killed) => {
            let message = "its process needs more than linux.resources.memory.limit".to_owned();
            OciError::Stage { verb, id, message }
        }
        Err(source) => OciError::Control { verb, id, source },
    }
}

/// Says a word to a process.
pub fn say(control: &mut UnixStream, id: &str, verb: &'static str, word: u8) -> Result<(), OciError> {
    control.write_all(&[word]).map_err(|source| OciError::Control { verb, id: id.to_owned(), source })
}

/// Connects with a socket, whose name may be longer than an address is.
pub fn connect(path: &Path) -> Result<UnixStream, OciError> {
    let failed = |error| OciError::file("connect with", path)(error);
    if path.as_os_str().len() < 108 {
        return UnixStream::connect(path).map_err(failed);
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(failed(io::ErrorKind::InvalidInput.into()));
    };
    let folder = File::open(folder).map_err(failed)?;
    UnixStream::connect(spawn::handle_path(&folder).join(name)).map_err(failed)
}

/// Where a container's process sends the other side of its terminal: to a socket that the caller names, or to us.
#[derive(Default)]
pub struct Console {
    /// The process's end.
    pub theirs: Option<UnixStream>,
    /// Ours, where we are to show it.
    pub ours: Option<UnixStream>,
}

impl Console {
    /// The console of a process that has a `terminal` or none. Without a socket it is ours, if we stay with the
    /// process to its end.
    pub fn new(terminal: bool, socket: Option<&Path>, stays: bool) -> Result<Self, OciError> {
        let wrong = |value: &str, reason| {
            Err(OciError::Flag { flag: "console-socket", value: value.to_owned(), reason })
        };
        match (terminal, socket) {
            (false, None) => Ok(Self::default()),
            (false, Some(_)) => wrong("set", "no terminal is asked for"),
            (true, Some(path)) => Ok(Self { theirs: Some(connect(path)?), ours: None }),
            (true, None) if stays => {
                let pair = UnixStream::pair().map_err(|error| SpawnError::Descriptor("console", error))?;
                Ok(Self { theirs: Some(pair.0), ours: Some(pair.1) })
            }
            (true, None) => wrong("", "a terminal is asked for, and nobody stays to show it"),
        }
    }
}

/// Takes leave of a child that has been killed.
pub fn reap(pid: i32) {
    if pid > 0 {
        let _ = reaper::wait_for(pid);
    }
}
