//! A VMM's process: started in a session of its own, known again after a restart of the daemon.
//!
//! A process id alone proves nothing, since ids are used again: a process is known by its id, the time of
//! its start and the host's boot.

#![allow(unsafe_code, reason = "between fork and exec the child leaves the daemon's session")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, PidfdFlags, Signal, WaitIdOptions};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::HostError;

/// How a process is known again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its id.
    pub pid: u32,
    /// Clock ticks from the host's start to its own (proc(5), `stat` field 22).
    pub start_ticks: u64,
    /// The host's `/proc/sys/kernel/random/boot_id`.
    pub host_boot: String,
}

/// A process that is watched by a descriptor of its own.
#[derive(Debug)]
pub struct Process {
    identity: Identity,
    pidfd: AsyncFd<OwnedFd>,
}

/// What a VMM is started with.
#[derive(Debug)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
    /// Where it serves its API.
    pub api: PathBuf,
    /// The machine's id.
    pub id: String,
    /// Where the guest's console goes; appended to.
    pub console: PathBuf,
    /// Where its own words go; appended to.
    pub log: PathBuf,
    /// Where its exit record goes; emptied first.
    pub exit_record: PathBuf,
    /// `cgroup.procs` of the group that it joins.
    pub cgroup: Option<PathBuf>,
}

/// A file that is written at its end, for its owner only.
pub fn append(path: &Path) -> Result<File, HostError> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(HostError::file("open", path))
}

/// Starts a VMM. It outlives the daemon: own session, files instead of pipes.
pub fn start(launch: &Launch) -> Result<Process, HostError> {
    let record = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&launch.exit_record)
        .map_err(HostError::file("open", &launch.exit_record))?;
    let mut command = Command::new(&launch.program);
    command
        .arg("--config-file")
        .arg(&launch.config)
        .arg("--api-sock")
        .arg(&launch.api)
        .args(["--id", &launch.id])
        .args(["--exit-record-fd", &record.as_raw_fd().to_string()])
        .stdout(append(&launch.console)?)
        .stderr(append(&launch.log)?);
    spawn(command, record.as_fd(), launch.cgroup.as_deref())
}

/// Starts a program that outlives the daemon, with one descriptor that it has under the same number, in a cgroup.
pub fn spawn(
    mut command: Command,
    kept: BorrowedFd<'_>,
    cgroup: Option<&Path>,
) -> Result<Process, HostError> {
    let group = match cgroup {
        Some(path) => {
            let open = OpenOptions::new().write(true).open(path);
            Some(open.map_err(HostError::file("open", path))?)
        }
        None => None,
    };
    command.env_clear().current_dir("/").stdin(Stdio::null());
    let kept_fd = kept.as_raw_fd();
    let group_fd = group.as_ref().map(AsRawFd::as_raw_fd);
    // SAFETY: the closure runs in the child between fork and exec, where only async-signal-safe calls are
    // allowed: setsid, write and fcntl are, and nothing is allocated. The descriptors stay open in the
    // parent until after the spawn, since `kept` is borrowed and `group` is dropped at the end of this function.
    unsafe {
        command.pre_exec(move || prepare_child(kept_fd, group_fd));
    }
    let program = command.get_program().display().to_string();
    let child =
        command.spawn().map_err(|source| HostError::Process { operation: "start", program, source })?;
    // Until it is waited for, its id cannot be used again; so the descriptor is of this very process.
    Process::open(child.id())
}

/// In the child: leave the daemon's session, join the cgroup, keep the descriptor over exec.
fn prepare_child(kept_fd: i32, group_fd: Option<i32>) -> io::Result<()> {
    rustix::process::setsid()?;
    if let Some(fd) = group_fd {
        // SAFETY: the descriptor is open, see `spawn`, and the buffer is a constant of one byte.
        let written = unsafe { libc::write(fd, c"0".as_ptr().cast(), 1) };
        if written != 1 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: the descriptor is open, see `spawn`; only its close-on-exec flag changes, in the child alone.
    if unsafe { libc::fcntl(kept_fd, libc::F_SETFD, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

impl Process {
    /// The process with that id now.
    fn open(pid: u32) -> Result<Self, HostError> {
        let failed =
            |source: io::Error| HostError::Process { operation: "watch", program: pid.to_string(), source };
        let id = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        let pidfd =
            rustix::process::pidfd_open(id, PidfdFlags::NONBLOCK).map_err(|error| failed(error.into()))?;
        let identity =
            Identity { pid, start_ticks: start_ticks(pid).map_err(failed)?, host_boot: host_boot() };
        // SAFETY: the descriptor is open and owned by the value that is handed over, which answers the same
        // number until it is dropped, with the registration.
        let watched = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) };
        let pidfd = watched.map_err(|error| failed(error.into()))?;
        Ok(Self { identity, pidfd })
    }

    /// The very process of that identity, if it still runs.
    pub fn again(identity: &Identity) -> Option<Self> {
        if identity.host_boot != host_boot() {
            return None;
        }
        // The descriptor first: what it stands for cannot change when the identity is compared.
        let process = Self::open(identity.pid).ok()?;
        (process.identity == *identity && !is_zombie(identity.pid)).then_some(process)
    }

    /// How to know it again.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Waits until it has ended. Its bare status is nobody's business: the exit record says more.
    pub async fn ended(&self) {
        // An error of the poll can only mean that there is nothing to wait for.
        let _ = self.pidfd.readable().await;
        // Collects it if it is a child of this daemon; a process that was adopted is init's to collect.
        let id = rustix::process::WaitId::PidFd(self.pidfd.get_ref().as_fd());
        let _ = rustix::process::waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }

    /// Kills it. That it has ended already is no error.
    pub fn kill(&self) -> Result<(), HostError> {
        self.signal(Signal::KILL, "kill")
    }

    /// Asks it to end, with a word on why its guest stood still. That it has ended already is no error.
    pub fn terminate(&self) -> Result<(), HostError> {
        self.signal(Signal::TERM, "end")
    }

    fn signal(&self, signal: Signal, operation: &'static str) -> Result<(), HostError> {
        match rustix::process::pidfd_send_signal(self.pidfd.get_ref(), signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(HostError::Process {
                operation,
                program: self.identity.pid.to_string(),
                source: error.into(),
            }),
        }
    }
}

/// Where programs are looked for, behind the search path.
const FOLDERS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Finds a program on the search path, the administrator's folders included.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let own = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&own).chain(FOLDERS.iter().map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// This boot of the host.
pub fn host_boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn stat_fields(pid: u32) -> io::Result<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in brackets and may hold anything; the last bracket ends it.
    let behind = text.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    Ok(behind.split_whitespace().map(str::to_owned).collect())
}

fn start_ticks(pid: u32) -> io::Result<u64> {
    // Field 22 of proc(5); the first one behind the brackets is field 3.
    let fields = stat_fields(pid)?;
    fields.get(19).and_then(|field| field.parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn is_zombie(pid: u32) -> bool {
    stat_fields(pid).map_or(true, |fields| matches!(fields.first().map(String::as_str), Some("Z" | "X")))
}

/// Processes that were started with a configuration below `folder`: machine id and process id.
pub fn started_below(folder: &Path) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    for name in super::layout::names_in(Path::new("/proc")) {
        let Ok(pid) = name.parse::<u32>() else { continue };
        let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline")) else { continue };
        let words: Vec<&str> =
            line.split(|byte| *byte == 0).filter_map(|word| str::from_utf8(word).ok()).collect();
        let config = words.iter().position(|word| *word == "--config-file").and_then(|at| words.get(at + 1));
        let Some(inside) = config.and_then(|path| Path::new(path).strip_prefix(folder).ok()) else {
            continue;
        };
        if let Some(id) = inside.iter().next().and_then(|id| id.to_str()) {
            found.push((id.to_owned(), pid));
        }
    }
    found
}

/// Kills a process that has no record. It was found by [`started_below`] a moment ago.
pub fn kill_stray(pid: u32) {
    if let Ok(process) = Process::open(pid) {
        let _ = process.kill();
    }
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
