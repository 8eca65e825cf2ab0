//! Making a container: everything up to the moment before its program runs.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bulkhead_protocol::agent::{ContainerState, ContainerStatus, CreateContainer, ExitStatus};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::sync::{oneshot, watch};

use super::log::Log;
use super::spawn::{self, Child, SpawnError};
use super::{Container, ContainerError, Containers, MAX_CONTAINERS, check, delete, output, shape, stage};
use crate::isolation::cgroup::{self, Cgroup};
use crate::isolation::device_filter::{self, AllowedDevice};
use crate::reaper::Exit;
use crate::rootfs::{RootfsError, disk, mounts};

/// How long the container's process may take to put its root together.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest message of a container's process, in bytes.
pub const MAX_MESSAGE: u64 = 64 << 10;

/// How long a container's last output may take on its way to the log.
const LAST_OUTPUT: Duration = Duration::from_secs(5);

impl Containers {
    /// Makes a container. It waits in its namespaces, with its root, for its start.
    pub async fn create(
        self: &Arc<Self>,
        request: CreateContainer,
    ) -> Result<Arc<Container>, ContainerError> {
        let id = request.id.clone();
        check::check(&request).map_err(|source| ContainerError::Spec { id: id.clone(), source })?;
        self.take_id(&id)?;
        let made = self.make(request).await;
        let mut table = self.table();
        match &made {
            Ok(container) => table.insert(id, Some(Arc::clone(container))),
            Err(_) => table.remove(&id),
        };
        drop(table);
        made
    }

    fn take_id(&self, id: &str) -> Result<(), ContainerError> {
        let mut table = self.table();
        if table.contains_key(id) {
            return Err(ContainerError::Exists(id.to_owned()));
        }
        if table.len() >= MAX_CONTAINERS {
            return Err(ContainerError::TooMany);
        }
        table.insert(id.to_owned(), None);
        Ok(())
    }

    async fn make(self: &Arc<Self>, request: CreateContainer) -> Result<Arc<Container>, ContainerError> {
        let id = request.id.clone();
        let (request, disks) =
            mount_disks(request).await.map_err(|source| ContainerError::Disk { id: id.clone(), source })?;
        let cgroup = make_cgroup(&request)?;
        match self.make_in(request, &disks, &cgroup).await {
            Ok((parts, exit)) => Ok(self.supervise(parts, cgroup, exit)),
            Err(error) => {
                let _ = cgroup.kill();
                let _ = delete::remove(&cgroup).await;
                Err(error)
            }
        }
    }

    /// Makes the process and hears from it that its root is ready.
    async fn make_in(
        &self,
        request: CreateContainer,
        disks: &Disks,
        cgroup: &Cgroup,
    ) -> Result<(Parts, oneshot::Receiver<Exit>), ContainerError> {
        let id = request.id.clone();
        let end_machine = request.end_machine;
        let spawn_failed = |source| ContainerError::Spawn { id: id.clone(), source };
        let flags = shape::clone_flags(&request.spec);
        let config = self.stage_config(request).map_err(spawn_failed)?;
        let ends = Ends::make().map_err(spawn_failed)?;
        let directory = cgroup.open().map_err(|source| ContainerError::Cgroup { id: id.clone(), source })?;
        let mut descriptors = vec![ends.stage.as_fd(), config.as_fd(), ends.null.as_fd()];
        descriptors.extend([ends.out_write.as_fd(), ends.err_write.as_fd(), disks.root.as_fd()]);
        descriptors.extend(disks.volumes.iter().map(AsFd::as_fd));
        let make = || {
            let child = spawn::spawn(&self.program, flags, directory.as_fd(), &descriptors)?;
            Ok((child.pid, child))
        };
        let (child, exit) = self.reaper.adopt(make).map_err(spawn_failed)?;
        drop((ends.stage, ends.out_write, ends.err_write));
        let log = Arc::new(Log::new());
        output::collect(&log, ends.out_read, ends.err_read)
            .map_err(|error| spawn_failed(SpawnError::Descriptor("output", error)))?;
        let mut control = ends.control;
        let heard = tokio::time::timeout(PATIENCE, prepared(&mut control)).await;
        let heard = heard.unwrap_or_else(|_| Err(Failure::Io(io::ErrorKind::TimedOut.into())));
        heard.map_err(|failure| failure.into_error(&id, "make"))?;
        Ok((Parts { id, end_machine, child, control, log }, exit))
    }

    fn stage_config(&self, request: CreateContainer) -> Result<OwnedFd, SpawnError> {
        let memory = rustix::system::sysinfo();
        let memory = cgroup::container_memory(memory.totalram.saturating_mul(memory.mem_unit.into()));
        let limit = request.spec.linux.resources.as_ref().and_then(|resources| resources.memory.as_ref());
        let limit = limit.and_then(|memory| memory.limit).and_then(|limit| u64::try_from(limit).ok());
        let mut spec = request.spec;
        if spec.mounts.is_empty() {
            spec.mounts = mounts::defaults();
        }
        let hostname = spec.hostname.clone().or_else(|| self.surroundings.hostname.clone());
        let config = stage::Config {
            hostname: hostname.unwrap_or_else(|| request.id.clone()),
            addresses: self.surroundings.addresses.clone(),
            resolvers: self.surroundings.resolvers.clone(),
            // Half, so that a full root is an error of write() and not the end of the container.
            layer_bytes: limit.filter(|limit| *limit > 0).unwrap_or(memory).min(memory) / 2,
            own_network: shape::own_network(&spec),
            volumes: request.volumes.into_iter().map(|volume| volume.destination).collect(),
            spec,
        };
        let config = serde_json::to_vec(&config)
            .map_err(|error| SpawnError::Descriptor("configuration", error.into()))?;
        spawn::memory_file(&config)
    }

    /// Sees to it that the container's end is known, whoever asks and whenever.
    fn supervise(
        self: &Arc<Self>,
        parts: Parts,
        cgroup: Cgroup,
        exit: oneshot::Receiver<Exit>,
    ) -> Arc<Container> {
        let status = ContainerStatus {
            id: parts.id.clone(),
            state: ContainerState::Created,
            pid: Some(parts.child.pid),
            started_us: None,
            exit: None,
        };
        let container = Arc::new(Container {
            id: parts.id,
            end_machine: parts.end_machine,
            process: parts.child.process,
            cgroup,
            control: Mutex::new(Some(parts.control)),
            status: watch::Sender::new(status),
            log: parts.log,
        });
        let (containers, watched) = (Arc::clone(self), Arc::clone(&container));
        tokio::spawn(async move {
            // The reaper outlives every container; without it there is no machine either.
            let exit = exit.await.unwrap_or(Exit { code: u8::MAX, signal: None });
            containers.ended(&watched, exit).await;
        });
        container
    }

    async fn ended(&self, container: &Container, exit: Exit) {
        // With its first process the kernel ended all of the process namespace; this is for what is left.
        let _ = container.cgroup.kill();
        let oom_killed = container.cgroup.oom_killed();
        let mut started = false;
        container.status.send_modify(|status| {
            started = status.started_us.is_some();
            status.state = ContainerState::Stopped;
            status.pid = None;
            status.exit = Some(ExitStatus { code: exit.code, signal: exit.signal, oom_killed });
        });
        if container.end_machine && started {
            let _ = tokio::time::timeout(LAST_OUTPUT, container.log.ended()).await;
            self.end_machine(exit.code);
        }
    }
}

/// What a container is put together from once its process is ready.
struct Parts {
    id: String,
    end_machine: bool,
    child: Child,
    control: UnixStream,
    log: Arc<Log>,
}

/// The mounts of the container's disks, in no tree yet.
struct Disks {
    root: OwnedFd,
    volumes: Vec<OwnedFd>,
}

/// Mounts on a thread of its own: a disk may be slow to appear, and a journal long.
async fn mount_disks(request: CreateContainer) -> Result<(CreateContainer, Disks), RootfsError> {
    let mount = move || {
        let root = disk::root(&request.root)?;
        let volumes = request.volumes.iter().map(disk::volume).collect::<Result<_, _>>()?;
        Ok((request, Disks { root, volumes }))
    };
    let done = tokio::task::spawn_blocking(mount).await;
    done.unwrap_or_else(|error| Err(RootfsError::step("mount the disks")(io::Error::other(error))))
}

fn make_cgroup(request: &CreateContainer) -> Result<Cgroup, ContainerError> {
    let id = request.id.clone();
    let linux = &request.spec.linux;
    let name = linux.cgroups_path.as_deref().map_or(id.as_str(), |path| path.trim_matches('/'));
    let resources = linux.resources.clone().unwrap_or_default();
    let failed = |source| ContainerError::Cgroup { id: id.clone(), source };
    let cgroup = Cgroup::create(name, &resources).map_err(failed)?;
    let more: Vec<_> = linux.devices.iter().filter_map(allowed).collect();
    let limited = cgroup.open().map_err(failed).and_then(|directory| {
        device_filter::restrict(&directory, &more)
            .map_err(|source| ContainerError::Devices { id: id.clone(), source })
    });
    if limited.is_err() {
        let _ = cgroup.remove();
    }
    limited.map(|()| cgroup)
}

fn allowed(device: &bulkhead_protocol::oci::Device) -> Option<AllowedDevice> {
    Some(AllowedDevice {
        block: device.kind == "b",
        major: u32::try_from(device.major).ok()?,
        minor: Some(u32::try_from(device.minor).ok()?),
    })
}

/// Both ends of everything that connects a container's first process with process 1.
struct Ends {
    control: UnixStream,
    stage: OwnedFd,
    null: OwnedFd,
    out_read: OwnedFd,
    out_write: OwnedFd,
    err_read: OwnedFd,
    err_write: OwnedFd,
}

impl Ends {
    fn make() -> Result<Self, SpawnError> {
        let failed = |what| move |error: io::Error| SpawnError::Descriptor(what, error);
        let pipe = || {
            let ends = rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
            ends.map_err(|error| failed("output")(error.into()))
        };
        let (control, stage) = std::os::unix::net::UnixStream::pair().map_err(failed("control"))?;
        control.set_nonblocking(true).map_err(failed("control"))?;
        let control = UnixStream::from_std(control).map_err(failed("control"))?;
        let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| failed("input")(error.into()))?;
        let ((out_read, out_write), (err_read, err_write)) = (pipe()?, pipe()?);
        Ok(Self { control, stage: stage.into(), null, out_read, out_write, err_read, err_write })
    }
}

/// Why a container's process did not do what it was asked.
pub enum Failure {
    /// It said why.
    Said(stage::Report),
    /// It could not be heard.
    Io(io::Error),
}

impl Failure {
    /// The error of the verb that asked.
    pub fn into_error(self, id: &str, verb: &'static str) -> ContainerError {
        let id = id.to_owned();
        match self {
            Self::Said(report) => {
                ContainerError::Stage { id, verb, message: report.message, by_caller: report.by_caller }
            }
            Self::Io(source) => ContainerError::Control { id, verb, source },
        }
    }
}

async fn prepared(control: &mut UnixStream) -> Result<(), Failure> {
    match control.read_u8().await {
        Ok(stage::PREPARED) => Ok(()),
        Ok(first) => Err(heard(first, control).await),
        Err(_) => Err(Failure::Io(io::Error::other("its process ended without a word"))),
    }
}

/// Hears the rest of a report whose first byte has been read.
pub async fn heard(first: u8, control: &mut UnixStream) -> Failure {
    let mut text = vec![first];
    if let Err(error) = control.take(MAX_MESSAGE).read_to_end(&mut text).await {
        return Failure::Io(error);
    }
    match serde_json::from_slice(&text) {
        Ok(report) => Failure::Said(report),
        Err(error) => Failure::Io(error.into()),
    }
}
