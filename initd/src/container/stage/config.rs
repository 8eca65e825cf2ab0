//! What a container's process is told, and what it answers.

use std::net::Ipv4Addr;

use bulkhead_protocol::copy::CopyRequest;
use bulkhead_protocol::oci::{NamespaceKind, Spec, State};
use serde::{Deserialize, Serialize};

/// What the process says when everything but the program is ready.
pub const PREPARED: u8 = b'P';

/// What it says when its namespaces and mounts are there and hooks are to be run; it goes on with [`START`].
pub const HOOKS: u8 = b'H';

/// What it is told to go on.
pub const START: u8 = b'S';

/// The largest configuration that is read, in bytes: a request's body or a bundle's file, and what JSON adds
/// when it is written anew.
pub const MAX_CONFIG: usize = 16 << 20;

/// What the one who makes a container tells its process.
#[derive(Debug, Serialize, Deserialize)]
pub struct Config {
    /// The specification, checked.
    pub spec: Spec,
    /// The container's host name, where one is to be set.
    pub hostname: Option<String>,
    /// The container has a network of its own.
    pub own_network: bool,
    /// The container has users of its own: process 1 has made what the container's root cannot.
    pub own_users: bool,
    /// Where it runs.
    pub world: World,
}

/// Where a process runs, and what it finds among its descriptors.
#[derive(Debug, Serialize, Deserialize)]
pub enum World {
    /// A new container of a guest, from disks: input, output, errors, root, the root's writable layer where a
    /// disk is that, volumes.
    Guest(Guest),
    /// A new container from a bundle: namespaces to join, the console's socket, the socket where it waits.
    Bundle(Box<Bundle>),
    /// A container that is there: the container's first process, the console's socket; in a guest without one,
    /// input, output and errors.
    Inside(Inside),
    /// The mounts of a container that is there: the container's first process, input, output and errors.
    Copy(CopyRequest),
}

/// A guest's container.
#[derive(Debug, Serialize, Deserialize)]
pub struct Guest {
    /// The guest's addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// Who resolves names.
    pub resolvers: Vec<Ipv4Addr>,
    /// How many bytes may be written to the root where memory takes them.
    pub layer_bytes: u64,
    /// A disk takes what is written to the root: the first of the descriptors behind the root's.
    pub layer_disk: bool,
    /// Where the volumes go, in the order of their descriptors.
    pub volumes: Vec<String>,
}

/// A bundle's container.
#[derive(Debug, Serialize, Deserialize)]
pub struct Bundle {
    /// The kinds of the namespaces to join, in the order of their descriptors.
    pub joins: Vec<NamespaceKind>,
    /// There is a console's socket.
    pub console: bool,
    /// The process waits on a socket for its start, and not where it was made.
    pub waits: bool,
    /// Which of `mounts` come with their source as a descriptor, behind all others.
    pub sources: Vec<usize>,
    /// The root comes as a mount, before those.
    pub root_given: bool,
    /// Enter the root by moving it.
    pub no_pivot: bool,
    /// Make a session keyring of this name.
    pub keyring: Option<String>,
    /// How many descriptors above 2 the program gets.
    pub preserve: u32,
    /// The container's state as hooks get it.
    pub state: State,
}

/// Another process in a container.
#[derive(Debug, Serialize, Deserialize)]
pub struct Inside {
    /// The kinds of the namespaces to enter.
    pub namespaces: Vec<NamespaceKind>,
    /// There is a console's socket.
    pub console: bool,
    /// How many descriptors above 2 the program gets.
    pub preserve: u32,
    /// The container's state as whoever is notified of system calls gets it. A guest's container has none.
    pub state: Option<State>,
}

impl World {
    /// How many descriptors above 2 the program gets.
    pub fn preserve(&self) -> u32 {
        match self {
            Self::Guest(_) | Self::Copy(_) => 0,
            Self::Bundle(bundle) => bundle.preserve,
            Self::Inside(inside) => inside.preserve,
        }
    }

    /// Whether what the specification leaves open is a guest's to fill in: names, limits, system calls.
    pub fn is_guest(&self) -> bool {
        matches!(self, Self::Guest(_) | Self::Inside(Inside { state: None, .. }))
    }
}

/// What went wrong, as the process says it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// One sentence with all causes.
    pub message: String,
    /// The specification or the image is at fault.
    pub by_caller: bool,
    /// The status that the process ends with.
    pub code: u8,
}
