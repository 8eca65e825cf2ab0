//! Containers: one file a verb, and what the verbs share.

pub mod check;
mod clone;
mod copy;
mod create;
mod delete;
mod disks;
mod ends;
pub mod exec;
pub mod hooks;
pub mod log;
mod output;
pub mod shape;
pub mod signal;
pub mod spawn;
pub mod stage;
mod start;
pub mod user_namespace;
mod wait;

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bulkhead_protocol::agent::{ContainerState, ContainerStatus};
use bulkhead_protocol::oci::Spec;
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, watch};

pub use check::SpecError;
use log::Log;

use crate::boot::LaterModules;
use crate::isolation::cgroup::{Cgroup, CgroupError};
use crate::reaper::Reaper;
use crate::rootfs::RootfsError;
use spawn::{Program, SpawnError};

/// The most containers that a guest holds at a time.
const MAX_CONTAINERS: usize = 256;

/// The most additional processes in containers at a time.
const MAX_EXECS: usize = 64;

/// What goes wrong with containers.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// Nobody has that id.
    #[error("There is no container {0}")]
    Missing(String),
    /// Somebody has that id.
    #[error("There is a container {0} already")]
    Exists(String),
    /// There are as many as there can be.
    #[error("There are {MAX_CONTAINERS} containers already")]
    TooMany,
    /// There are as many additional processes as there can be.
    #[error("There are {MAX_EXECS} additional processes in containers already")]
    TooManyExecs,
    /// The verb does not fit the container's state.
    #[error("Container {id} is {state}, so that it cannot be {verb}")]
    State {
        /// The container.
        id: String,
        /// Its state, in a word.
        state: &'static str,
        /// What was asked, as a participle.
        verb: &'static str,
    },
    /// The specification is wrong.
    #[error("Cannot use the specification of container {id}")]
    Spec {
        /// The container.
        id: String,
        /// What is wrong.
        source: SpecError,
    },
    /// A disk of it could not be mounted.
    #[error("Cannot make container {id}")]
    Disk {
        /// The container.
        id: String,
        /// Why.
        source: RootfsError,
    },
    /// Its control group could not be made.
    #[error("Cannot limit container {id}")]
    Cgroup {
        /// The container.
        id: String,
        /// Why.
        source: CgroupError,
    },
    /// Its devices could not be limited.
    #[error("Cannot limit the devices of container {id}")]
    Devices {
        /// The container.
        id: String,
        /// Why.
        source: crate::isolation::device_filter::DeviceFilterError,
    },
    /// Its process could not be made.
    #[error("Cannot make the process of container {id}")]
    Spawn {
        /// The container.
        id: String,
        /// Why.
        source: SpawnError,
    },
    /// It could not get users of its own.
    #[error("Cannot make the user namespace of container {id}")]
    Users {
        /// The container.
        id: String,
        /// Why.
        source: user_namespace::SettleError,
    },
    /// The container's process says itself what failed.
    #[error("Cannot {verb} container {id}: {message}")]
    Stage {
        /// The container.
        id: String,
        /// What was asked.
        verb: &'static str,
        /// What it said.
        message: String,
        /// The specification is at fault, and not the guest.
        by_caller: bool,
        /// The status that a shell gives for it: 126, or 127 where the program is not there.
        code: Option<u8>,
    },
    /// The container's process could not be spoken with.
    #[error("Cannot {verb} container {id}")]
    Control {
        /// The container.
        id: String,
        /// What was asked.
        verb: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A signal that does not exist.
    #[error("There is no signal {0}; signals are 1 to 64")]
    NoSignal(i32),
    /// A signal could not be sent.
    #[error("Cannot send signal {signal} to container {id}")]
    Signal {
        /// The container.
        id: String,
        /// The signal.
        signal: i32,
        /// Why.
        source: io::Error,
    },
}

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The request is wrong.
    Caller,
    /// The request names nothing that is there.
    Missing,
    /// The request does not fit the state of things.
    Conflict,
    /// The guest cannot do it.
    Guest,
}

impl ContainerError {
    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Missing(_) => Blame::Missing,
            Self::Exists(_) | Self::TooMany | Self::TooManyExecs | Self::State { .. } => Blame::Conflict,
            Self::Spec { .. } | Self::NoSignal(_) | Self::Stage { by_caller: true, .. } => Blame::Caller,
            Self::Disk { source, .. } if source.by_caller() => Blame::Caller,
            _ => Blame::Guest,
        }
    }
}

/// One container.
pub struct Container {
    id: String,
    end_machine: bool,
    /// What it was made from.
    spec: Spec,
    /// Its host name.
    hostname: Option<String>,
    /// Its first process, as long as somebody may want to signal it.
    process: OwnedFd,
    cgroup: Cgroup,
    /// How its first process is told to go on. Taken by the one who starts it.
    control: Mutex<Option<UnixStream>>,
    status: watch::Sender<ContainerStatus>,
    /// What it has written.
    pub log: Arc<Log>,
}

impl Container {
    /// The container as it is now.
    pub fn status(&self) -> ContainerStatus {
        self.status.borrow().clone()
    }

    fn state_error(&self, verb: &'static str) -> ContainerError {
        let state = match self.status.borrow().state {
            ContainerState::Created => "created and not started",
            ContainerState::Running => "running",
            ContainerState::Stopped => "stopped",
        };
        ContainerError::State { id: self.id.clone(), state, verb }
    }
}

/// What a container is told of the guest.
#[derive(Debug, Default)]
pub struct Surroundings {
    /// The guest's host name, for containers that name none.
    pub hostname: Option<String>,
    /// The guest's addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// Who resolves names.
    pub resolvers: Vec<Ipv4Addr>,
    /// Modules that are inserted when something needs them.
    pub modules: Arc<LaterModules>,
}

/// All containers of the guest.
pub struct Containers {
    /// `None` is a container in the making, whose id is taken.
    table: Mutex<BTreeMap<String, Option<Arc<Container>>>>,
    reaper: Arc<Reaper>,
    program: Program,
    surroundings: Surroundings,
    ending: watch::Sender<Option<u8>>,
    /// Places for additional processes.
    execs: Arc<Semaphore>,
}

impl Containers {
    /// No containers yet. `program` is this program's own file.
    pub fn new(reaper: Arc<Reaper>, program: OwnedFd, surroundings: Surroundings) -> Self {
        Self {
            table: Mutex::default(),
            reaper,
            program: Program::new(program),
            surroundings,
            ending: watch::Sender::new(None),
            execs: Arc::new(Semaphore::new(MAX_EXECS)),
        }
    }

    /// The container of that id.
    pub fn find(&self, id: &str) -> Result<Arc<Container>, ContainerError> {
        let found = self.table().get(id).cloned().flatten();
        found.ok_or_else(|| ContainerError::Missing(id.to_owned()))
    }

    /// Every container as it is now, by id.
    pub fn list(&self) -> Vec<ContainerStatus> {
        self.table().values().flatten().map(|container| container.status()).collect()
    }

    /// Asks for the end of the machine. The first one who asks names the status.
    pub fn end_machine(&self, code: u8) {
        self.ending.send_if_modified(|ending| {
            let first = ending.is_none();
            ending.get_or_insert(code);
            first
        });
    }

    /// Returns the machine's status when its end has been asked for.
    pub async fn ending(&self) -> u8 {
        let mut ending = self.ending.subscribe();
        let asked = ending.wait_for(Option::is_some).await;
        asked.ok().and_then(|code| *code).unwrap_or_default()
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<String, Option<Arc<Container>>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
