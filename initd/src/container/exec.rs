//! Another process in a container that runs.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use bulkhead_protocol::agent::ContainerState;
use bulkhead_protocol::exec::{ExecProcess, TerminalSize};
use bulkhead_protocol::oci::{ConsoleSize, NamespaceKind, Process, Spec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use tokio::net::UnixStream;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::create::{Failure, prepared, written};
use super::spawn::{self, Child, SpawnError};
use super::{Container, ContainerError, Containers, check, shape, stage, start};
use crate::isolation::cgroup::Cgroup;
use crate::isolation::user_namespace::Maps;
use crate::reaper::Exit;

/// How long a process may take to enter the container, and its program to begin.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process that has begun.
pub struct Exec {
    /// Its streams.
    pub streams: Streams,
    /// Its exit status, when it has ended.
    pub exit: watch::Receiver<Option<u8>>,
}

/// The ends of a process's streams that are process 1's. Dropping one closes it.
#[derive(Default)]
pub struct Streams {
    /// Where its input goes.
    pub input: Option<Sender>,
    /// Where its output comes from.
    pub output: Option<Receiver>,
    /// Where its errors come from. A terminal has them among the output.
    pub errors: Option<Receiver>,
    /// The other side of its terminal.
    pub terminal: Option<OwnedFd>,
}

impl Containers {
    /// Runs a process in the container of that id; returns when its program has begun.
    pub async fn exec(&self, id: &str, wanted: ExecProcess) -> Result<Exec, ContainerError> {
        let container = self.find(id)?;
        if container.status.borrow().state != ContainerState::Running {
            return Err(container.state_error("entered"));
        }
        let (has_input, detached, size) = (wanted.input, wanted.detach, wanted.terminal);
        let spec = Spec {
            process: process(&container.spec.process, wanted),
            // What the container's first process does besides is not this one's.
            annotations: Default::default(),
            ..container.spec.clone()
        };
        check::process(&spec.process).map_err(|source| ContainerError::Spec { id: id.to_owned(), source })?;
        let ends = match size {
            Some(_) => Ends::of_terminal(),
            None => Ends::of_pipes(has_input, detached, container.root_ids()),
        };
        let ends = ends.map_err(|source| ContainerError::Spawn { id: id.to_owned(), source })?;
        let config = stage::Config {
            hostname: container.hostname.clone(),
            own_network: shape::own_network(&spec),
            own_users: shape::own_users(&spec),
            world: stage::World::Inside(stage::Inside {
                namespaces: namespaces(&spec),
                console: spec.process.terminal,
                preserve: 0,
                state: None,
            }),
            spec,
        };
        self.launch(&container, config, ends).await
    }

    /// Makes a process in the container's cgroup, and returns when it does what `config` says.
    pub(super) async fn launch(
        &self,
        container: &Container,
        config: stage::Config,
        ends: Ends,
    ) -> Result<Exec, ContainerError> {
        let id = container.id.as_str();
        let verb = match config.world {
            stage::World::Copy(_) => "copy from or to",
            _ => "run a process in",
        };
        let place = Arc::clone(&self.execs).try_acquire_owned().map_err(|_| ContainerError::TooManyExecs)?;
        let Ends { console, handed, mut streams } = ends;
        let (child, exit, control) =
            self.enter(container, &config, &handed).map_err(|source| match source {
                // It has ended, and the reaper is about to say so.
                SpawnError::Enter(error) if error.raw_os_error() == Some(libc::ESRCH) => {
                    container.state_error("entered")
                }
                source => ContainerError::Spawn { id: id.to_owned(), source },
            })?;
        drop(handed);
        let (known, ended) = watch::channel(None);
        tokio::spawn(async move {
            let exit = exit.await.unwrap_or(Exit { code: u8::MAX, signal: None });
            known.send_replace(Some(exit.code));
            drop(place);
        });
        let begun = timeout(PATIENCE, begin(control, console, &mut streams)).await;
        let begun = begun.unwrap_or_else(|_| Err(Failure::Io(io::ErrorKind::TimedOut.into())));
        if begun.is_err() {
            // One that has failed by itself ends by itself; one that has been too slow does not.
            let _ = rustix::process::pidfd_send_signal(&child.process, rustix::process::Signal::KILL);
        }
        begun.map_err(|failure| failure.into_error(id, verb))?;
        Ok(Exec { streams, exit: ended })
    }

    /// Makes the process, which waits for its start.
    fn enter(
        &self,
        container: &Container,
        config: &stage::Config,
        handed: &[OwnedFd],
    ) -> Result<(Child, oneshot::Receiver<Exit>, UnixStream), SpawnError> {
        let socket_failed = |error| SpawnError::Descriptor("control", error);
        let (control, stage) = std::os::unix::net::UnixStream::pair().map_err(socket_failed)?;
        control.set_nonblocking(true).map_err(socket_failed)?;
        let control = UnixStream::from_std(control).map_err(socket_failed)?;
        let written = written(config)?;
        let mut descriptors = vec![stage.as_fd(), written.as_fd(), container.process.as_fd()];
        descriptors.extend(handed.iter().map(|end| end.as_fd()));
        let spawn_in = |cgroup: BorrowedFd<'_>| {
            let child = match config.world {
                // Nobody in the container sees who copies.
                stage::World::Copy(_) => spawn::spawn(&self.program, 0, cgroup, &descriptors)?,
                _ => spawn::spawn_beside(&self.program, container.process.as_fd(), cgroup, &descriptors)?,
            };
            Ok((child.pid, child))
        };
        let open =
            |cgroup: &Cgroup| cgroup.open().map_err(|error| SpawnError::Clone(io::Error::other(error)));
        let make = || match spawn_in(open(&container.cgroup)?.as_fd()) {
            // The container has divided its group, whose own processes are not ours to add to.
            Err(SpawnError::Clone(error)) if error.raw_os_error() == Some(libc::EBUSY) => {
                let pid = container.status.borrow().pid.unwrap_or(0);
                let below = Cgroup::of(pid).map_err(|error| SpawnError::Clone(io::Error::other(error)))?;
                spawn_in(open(&below)?.as_fd())
            }
            made => made,
        };
        let (child, exit) = self.reaper.adopt(make)?;
        Ok((child, exit, control))
    }
}

impl Container {
    /// Who the container's root is in the guest, where it has users of its own.
    fn root_ids(&self) -> Option<(rustix::fs::Uid, rustix::fs::Gid)> {
        Maps::parse(&self.spec.linux).ok().flatten().map(|maps| maps.root())
    }
}

/// The namespaces of a guest's container, but that of processes, in which the process is made.
fn namespaces(spec: &Spec) -> Vec<NamespaceKind> {
    let always = [NamespaceKind::Mount, NamespaceKind::Uts, NamespaceKind::Ipc, NamespaceKind::Cgroup];
    let users = shape::own_users(spec).then_some(NamespaceKind::User);
    let network = shape::own_network(spec).then_some(NamespaceKind::Network);
    always.into_iter().chain(users).chain(network).collect()
}

/// The container's own process with what is wanted in its place.
fn process(own: &Process, wanted: ExecProcess) -> Process {
    let mut process = Process { args: wanted.args, ..own.clone() };
    if let Some(sets) = &mut process.capabilities {
        // CVE-2022-29162: what nobody asked for must not come back with a program's file.
        sets.inheritable.clear();
        sets.ambient.clear();
    }
    process.terminal = wanted.terminal.is_some();
    process.console_size =
        wanted.terminal.map(|TerminalSize { rows, columns }| ConsoleSize { height: rows, width: columns });
    if process.terminal && !process.env.iter().any(|word| word.starts_with("TERM=")) {
        process.env.push("TERM=xterm".to_owned());
    }
    process.env.extend(wanted.env);
    if let Some(cwd) = wanted.cwd {
        process.cwd = cwd;
    }
    if let Some(user) = wanted.user {
        process.user.username = Some(user);
        process.user.additional_gids.clear();
    }
    process
}

/// Both ends of a process's streams.
pub(super) struct Ends {
    /// Where the other side of its terminal comes from.
    console: Option<UnixStream>,
    /// What it gets.
    handed: Vec<OwnedFd>,
    streams: Streams,
}

impl Ends {
    fn of_terminal() -> Result<Self, SpawnError> {
        let failed = |error| SpawnError::Descriptor("terminal", error);
        let (ours, other) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let console = Some(UnixStream::from_std(ours).map_err(failed)?);
        Ok(Self { console, handed: vec![other.into()], streams: Streams::default() })
    }

    /// `owner` may open them anew, by /dev/stdout.
    pub(super) fn of_pipes(
        has_input: bool,
        detached: bool,
        owner: Option<(rustix::fs::Uid, rustix::fs::Gid)>,
    ) -> Result<Self, SpawnError> {
        let failed = |error: Errno| SpawnError::Descriptor("streams", error.into());
        let not_ours = |error| SpawnError::Descriptor("streams", error);
        let null = || {
            let flags = OFlags::RDWR | OFlags::CLOEXEC;
            rustix::fs::open("/dev/null", flags, Mode::empty()).map_err(failed)
        };
        let pipe = || {
            let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
            if let Some((uid, gid)) = owner {
                rustix::fs::fchown(&read, Some(uid), Some(gid)).map_err(failed)?;
            }
            Ok((read, write))
        };
        let mut streams = Streams::default();
        let input = match has_input && !detached {
            true => {
                let (read, write) = pipe()?;
                streams.input = Some(Sender::from_owned_fd(write).map_err(not_ours)?);
                read
            }
            false => null()?,
        };
        if detached {
            return Ok(Self { console: None, handed: vec![input, null()?, null()?], streams });
        }
        let ((out_read, output), (err_read, errors)) = (pipe()?, pipe()?);
        streams.output = Some(Receiver::from_owned_fd(out_read).map_err(not_ours)?);
        streams.errors = Some(Receiver::from_owned_fd(err_read).map_err(not_ours)?);
        Ok(Self { console: None, handed: vec![input, output, errors], streams })
    }
}

/// Goes with the process up to its program, and takes its terminal.
async fn begin(
    mut control: UnixStream,
    console: Option<UnixStream>,
    streams: &mut Streams,
) -> Result<(), Failure> {
    prepared(&mut control).await?;
    if let Some(console) = console {
        let terminal = receive(&console).await.map_err(Failure::Io)?;
        *streams = of_terminal(terminal).map_err(Failure::Io)?;
    }
    start::begin(&mut control).await
}

/// The terminal that the process has sent.
async fn receive(console: &UnixStream) -> io::Result<OwnedFd> {
    loop {
        console.readable().await?;
        match console.try_io(tokio::io::Interest::READABLE, || stage::receive(console)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            received => return received,
        }
    }
}

/// A terminal's side is read and written as a pipe is.
fn of_terminal(terminal: OwnedFd) -> io::Result<Streams> {
    let flags = rustix::fs::fcntl_getfl(&terminal)?;
    rustix::fs::fcntl_setfl(&terminal, flags | OFlags::NONBLOCK)?;
    Ok(Streams {
        input: Some(Sender::from_owned_fd_unchecked(terminal.try_clone()?)?),
        output: Some(Receiver::from_owned_fd_unchecked(terminal.try_clone()?)?),
        errors: None,
        terminal: Some(terminal),
    })
}

#[cfg(test)]
mod tests {
    use bulkhead_protocol::oci::Capabilities;

    use super::*;

    #[test]
    fn a_process_has_what_the_container_s_has_and_nothing_to_inherit() {
        let all = || vec!["CAP_KILL".to_owned()];
        let own = Process {
            args: vec!["redis-server".to_owned()],
            env: vec!["A=b".to_owned()],
            cwd: "/data".to_owned(),
            capabilities: Some(Capabilities {
                bounding: all(),
                effective: all(),
                inheritable: all(),
                permitted: all(),
                ambient: all(),
            }),
            no_new_privileges: true,
            ..Process::default()
        };
        let wanted = ExecProcess {
            args: vec!["sh".to_owned()],
            env: vec!["A=c".to_owned()],
            user: Some("redis".to_owned()),
            terminal: Some(TerminalSize { rows: 24, columns: 80 }),
            ..ExecProcess::default()
        };
        let process = process(&own, wanted);
        let sets = process.capabilities.unwrap();
        assert!(sets.inheritable.is_empty() && sets.ambient.is_empty());
        assert_eq!((sets.bounding, sets.permitted), (all(), all()));
        assert_eq!((process.args, process.cwd), (vec!["sh".to_owned()], "/data".to_owned()));
        assert_eq!(process.env, ["A=b", "TERM=xterm", "A=c"]);
        assert_eq!(process.user.username.as_deref(), Some("redis"));
        assert!(process.no_new_privileges && process.terminal);
    }
}
