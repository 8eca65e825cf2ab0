//! Making a container: everything up to the moment before its program runs.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bulkhead_protocol::agent::{ContainerState, ContainerStatus, CreateContainer, ExitStatus};
use bulkhead_protocol::oci::{Spec, defaults};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::sync::{oneshot, watch};

use super::disks::Disks;
use super::ends::Ends;
use super::log::Log;
use super::spawn::{self, Child, SpawnError};
use super::stage::Report;
use super::user_namespace::{SettleError, Settlement};
use super::{Container, ContainerError, Containers, MAX_CONTAINERS, check, delete, output, shape, stage};
use crate::isolation::cgroup::{self, Cgroup};
use crate::isolation::device_filter::{self, Rule};
use crate::isolation::user_namespace::Maps;
use crate::reaper::Exit;
use crate::rootfs::RootfsError;

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
        let modules = Arc::clone(&self.surroundings.modules);
        let (request, disks) = Disks::mount(request, modules)
            .await
            .map_err(|source| ContainerError::Disk { id: id.clone(), source })?;
        let cgroup = make_cgroup(&request)?;
        match self.make_in(request, disks, &cgroup).await {
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
        disks: Disks,
        cgroup: &Cgroup,
    ) -> Result<(Parts, oneshot::Receiver<Exit>), ContainerError> {
        let id = request.id.clone();
        let end_machine = request.end_machine;
        let spawn_failed = |source| ContainerError::Spawn { id: id.clone(), source };
        let flags = shape::clone_flags(&request.spec);
        let maps = Maps::parse(&request.spec.linux)
            .map_err(|source| ContainerError::Spec { id: id.clone(), source: source.into() })?;
        let config = self.stage_config(request);
        let layer_bytes = Self::layer_bytes(&config.spec);
        let settled = maps.map(|maps| (maps, config.spec.clone(), layer_bytes));
        let written = written(&config).map_err(spawn_failed)?;
        let ends = Ends::make().map_err(spawn_failed)?;
        if let Some((maps, ..)) = &settled {
            ends.give_to(maps.root()).map_err(spawn_failed)?;
        }
        let directory = cgroup.open().map_err(|source| ContainerError::Cgroup { id: id.clone(), source })?;
        let mut descriptors = vec![ends.stage.as_fd(), written.as_fd(), ends.null.as_fd()];
        descriptors.extend([ends.out_write.as_fd(), ends.err_write.as_fd(), disks.root.as_fd()]);
        descriptors.extend(disks.layer.iter().chain(&disks.volumes).map(AsFd::as_fd));
        let make = || {
            let child = spawn::spawn(&self.program, flags, directory.as_fd(), &descriptors)?;
            Ok((child.pid, child))
        };
        let (mut child, exit) = self.reaper.adopt(make).map_err(spawn_failed)?;
        if let (Some((maps, spec, layer_bytes)), Some(gate)) = (settled, child.gate.take()) {
            let settlement = Settlement { pid: child.pid, gate, maps, spec, layer_bytes };
            settle(settlement, disks)
                .await
                .map_err(|source| ContainerError::Users { id: id.clone(), source })?;
        }
        drop((ends.stage, ends.out_write, ends.err_write));
        let log = Arc::new(Log::new());
        output::collect(&log, ends.out_read, ends.err_read)
            .map_err(|error| spawn_failed(SpawnError::Descriptor("output", error)))?;
        let mut control = ends.control;
        let heard = tokio::time::timeout(PATIENCE, prepared(&mut control)).await;
        let heard = heard.unwrap_or_else(|_| Err(Failure::Io(io::ErrorKind::TimedOut.into())));
        heard.map_err(|failure| failure.into_error(&id, "make"))?;
        let stage::Config { spec, hostname, .. } = config;
        Ok((Parts { id, end_machine, spec, hostname, child, control, log }, exit))
    }

    fn stage_config(&self, request: CreateContainer) -> stage::Config {
        let mut spec = request.spec;
        if spec.mounts.is_empty() {
            spec.mounts = defaults::mounts();
        }
        let hostname = spec.hostname.clone().or_else(|| self.surroundings.hostname.clone());
        let guest = stage::Guest {
            addresses: self.surroundings.addresses.clone(),
            resolvers: self.surroundings.resolvers.clone(),
            layer_bytes: Self::layer_bytes(&spec),
            layer_disk: request.root.layer.is_some(),
            volumes: request.volumes.into_iter().map(|volume| volume.destination).collect(),
        };
        stage::Config {
            hostname: Some(hostname.unwrap_or_else(|| request.id.clone())),
            own_network: shape::own_network(&spec),
            own_users: shape::own_users(&spec),
            world: stage::World::Guest(guest),
            spec,
        }
    }

    /// How many bytes may be written to the root where memory takes them: half, so that a full root is an error
    /// of write() and not the end of the container.
    fn layer_bytes(spec: &Spec) -> u64 {
        let memory = rustix::system::sysinfo();
        let memory = cgroup::container_memory(memory.totalram.saturating_mul(memory.mem_unit.into()));
        let limit = spec.linux.resources.as_ref().and_then(|resources| resources.memory.as_ref());
        let limit = limit.and_then(|memory| memory.limit).and_then(|limit| u64::try_from(limit).ok());
        limit.filter(|limit| *limit > 0).unwrap_or(memory).min(memory) / 2
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
            spec: parts.spec,
            hostname: parts.hostname,
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
    spec: Spec,
    hostname: Option<String>,
    child: Child,
    control: UnixStream,
    log: Arc<Log>,
}

/// A stage's configuration as it reads it.
pub(super) fn written(config: &stage::Config) -> Result<OwnedFd, SpawnError> {
    let config =
        serde_json::to_vec(config).map_err(|error| SpawnError::Descriptor("configuration", error.into()))?;
    spawn::memory_file(&config)
}

/// Settles on a thread of its own: mounting may take its time.
async fn settle(settlement: Settlement, disks: Disks) -> Result<(), SettleError> {
    let done = tokio::task::spawn_blocking(move || settlement.settle(&disks)).await;
    done.unwrap_or_else(|error| {
        Err(RootfsError::step("put the root together")(io::Error::other(error)).into())
    })
}

fn make_cgroup(request: &CreateContainer) -> Result<Cgroup, ContainerError> {
    let id = request.id.clone();
    let linux = &request.spec.linux;
    let name = linux.cgroups_path.as_deref().map_or(id.as_str(), |path| path.trim_matches('/'));
    let resources = linux.resources.clone().unwrap_or_default();
    let failed = |source| ContainerError::Cgroup { id: id.clone(), source };
    let cgroup = Cgroup::create(name, &resources).map_err(failed)?;
    let limited = cgroup.open().map_err(failed).and_then(|directory| {
        device_filter::restrict(&directory, &Rule::of_guest(&linux.devices))
            .map_err(|source| ContainerError::Devices { id: id.clone(), source })
    });
    if limited.is_err() {
        let _ = cgroup.remove();
    }
    limited.map(|()| cgroup)
}

/// Why a container's process did not do what it was asked.
pub enum Failure {
    /// It said why.
    Said(Report),
    /// It could not be heard.
    Io(io::Error),
}

impl Failure {
    /// The error of the verb that asked.
    pub fn into_error(self, id: &str, verb: &'static str) -> ContainerError {
        let id = id.to_owned();
        match self {
            Self::Said(report) => {
                let Report { message, by_caller, code } = report;
                // What is wrong before there is a program to try is like one that cannot be run.
                let code = [126, 127].contains(&code).then_some(code).or(by_caller.then_some(126));
                ContainerError::Stage { id, verb, message, by_caller, code }
            }
            Self::Io(source) => ContainerError::Control { id, verb, source },
        }
    }
}

/// Hears that all is ready.
pub async fn prepared(control: &mut UnixStream) -> Result<(), Failure> {
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
