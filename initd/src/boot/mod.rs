//! From the kernel's first step into user space to a guest that can run containers, and its end.

pub mod acpi_events;
pub mod cmdline;
mod modules;
mod mounts;
pub use modules::LaterModules;
pub use mounts::STAGE;
pub mod netlink;
mod network;
mod root;
pub mod shutdown;

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use bulkhead_protocol::boot::{AUTOSTART, Autostart};
use rustix::fs::{Mode, OFlags};

use cmdline::{Cmdline, CmdlineError};

/// What the guest knows of itself once it is up.
pub struct Guest {
    /// The words of the kernel's command line that are ours.
    pub cmdline: Cmdline,
    /// What to start unasked.
    pub autostart: Option<Autostart>,
    /// This program's own file, open for reading; its name is gone by now.
    pub program: OwnedFd,
    /// The addresses of the first interface and the resolvers of all.
    pub resolvers: Vec<Ipv4Addr>,
    /// Modules that were not inserted yet.
    pub modules: LaterModules,
}

/// Why a guest cannot come up.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// A file of the initramfs is unreadable.
    #[error("Cannot read {path} of the initramfs")]
    Initramfs {
        /// The file.
        path: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The autostart file says something else than it should.
    #[error("Cannot understand {AUTOSTART}")]
    Autostart(#[source] serde_json::Error),
    /// A file is larger than allowed.
    #[error("Cannot read {path} of the initramfs: it has more than {limit} bytes")]
    TooLarge {
        /// The file.
        path: &'static str,
        /// The limit, in bytes.
        limit: u64,
    },
    /// A file system of the guest could not be mounted.
    #[error("Cannot mount {kind} on {target}")]
    Mount {
        /// The file system's type.
        kind: &'static str,
        /// Where.
        target: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A directory of the guest could not be made.
    #[error("Cannot make the directory {path}")]
    Directory {
        /// The directory.
        path: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The guest could not move out of the initramfs.
    #[error("Cannot leave the initramfs: {step}")]
    Leave {
        /// The step that failed.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The kernel's command line is wrong.
    #[error("Cannot use the kernel's command line")]
    Cmdline(#[from] CmdlineError),
    /// The host name was refused.
    #[error("Cannot set the host name {name}")]
    Hostname {
        /// The name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// The network could not be set up.
    #[error("Cannot set up the network")]
    Network(#[from] network::NetworkError),
    /// Cgroups could not be set up.
    #[error("Cannot set up the guest's cgroups")]
    Cgroup(#[from] crate::isolation::cgroup::CgroupError),
}

/// Brings the guest up. Called once, by process 1, before any thread exists.
pub fn bring_up() -> Result<Guest, BootError> {
    let program = open_program()?;
    modules::insert_all()?;
    let modules = LaterModules::keep()?;
    let autostart = read_autostart()?;
    root::leave_initramfs()?;
    let cmdline = Cmdline::read()?;
    if let Some(name) = &cmdline.hostname {
        rustix::system::sethostname(name.as_bytes())
            .map_err(|error| BootError::Hostname { name: name.clone(), source: error.into() })?;
    }
    let resolvers = network::set_up(&cmdline.networks)?;
    crate::isolation::cgroup::set_up_guest()?;
    protect_self();
    Ok(Guest { cmdline, autostart, program, resolvers, modules })
}

fn open_program() -> Result<OwnedFd, BootError> {
    rustix::fs::open("/init", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| BootError::Initramfs { path: "/init", source: error.into() })
}

fn read_autostart() -> Result<Option<Autostart>, BootError> {
    let Some(bytes) = read_bounded(AUTOSTART, bulkhead_protocol::agent::MAX_BODY as u64)? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes).map(Some).map_err(BootError::Autostart)
}

/// A whole file of the initramfs, or `None` where there is no such file.
fn read_bounded(path: &'static str, limit: u64) -> Result<Option<Vec<u8>>, BootError> {
    use std::io::Read as _;
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(BootError::Initramfs { path, source }),
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|source| BootError::Initramfs { path, source })?;
    if bytes.len() as u64 > limit {
        return Err(BootError::TooLarge { path, limit });
    }
    Ok(Some(bytes))
}

/// Keeps process 1 from being the one that dies when memory is short, and lets containers open many files.
fn protect_self() {
    let _ = std::fs::write("/proc/self/oom_score_adj", "-1000");
    let limit = rustix::process::Rlimit { current: Some(1 << 16), maximum: Some(1 << 20) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, limit);
}
