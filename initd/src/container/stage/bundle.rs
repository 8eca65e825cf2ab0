//! The world of a bundle's container (OCI runtime specification, `runtime.md`, "Lifecycle", and `config-linux.md`).

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use bulkhead_protocol::oci::{NamespaceKind, Spec, State};

use rustix::thread::LinkNameSpaceType;

use super::config::{Bundle, Config, HOOKS, START};
use super::handed::Rest;
use super::notify::Listener;
use super::{Ready, StageError, become_program, surroundings, terminal};
use crate::container::{hooks, shape};
use crate::isolation::capabilities::Sets;
use crate::isolation::seccomp::Program as Filter;
use crate::isolation::user_namespace::Maps;
use crate::isolation::{apparmor, keyring};
use crate::rootfs::beneath::Beneath;
use crate::rootfs::entrance::{self, Way};
use crate::rootfs::mounts::Given;
use crate::rootfs::nodes::Origin;
use crate::rootfs::options::propagation;
use crate::rootfs::{RootfsError, identity, masks, mounts, nodes};

/// Puts the container's world together and enters it.
pub fn prepare(
    config: &Config,
    bundle: &Bundle,
    mut handed: Rest,
    control: &mut UnixStream,
) -> Result<Ready, StageError> {
    let spec = &config.spec;
    for kind in &bundle.joins {
        let namespace = handed.next()?;
        rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(kind_of(*kind)))
            .map_err(RootfsError::path("join the namespace of linux.namespaces.path:", word(*kind)))?;
    }
    let console = handed.next_if(bundle.console)?;
    let listener = handed.next_if(bundle.waits)?.map(Into::into);
    let capabilities = Sets::parse(spec.process.capabilities.as_ref())?;
    let filter = spec.linux.seccomp.as_ref().map(Filter::exact).transpose()?;
    let notified =
        filter.as_ref().map(|filter| Listener::connect(filter, spec, &bundle.state)).transpose()?.flatten();
    let apparmor = apparmor::Profile::open(spec.process.apparmor_profile.as_deref())?;
    if let Some(name) = &bundle.keyring {
        keyring::join_new(name).map_err(RootfsError::step("make a session keyring"))?;
    }
    surroundings::settle(config)?;
    if shape::is_new(spec, NamespaceKind::Cgroup) {
        surroundings::own_cgroups()?;
    }
    if shape::is_new(spec, NamespaceKind::Time) {
        surroundings::own_clocks(&spec.linux)?;
    }
    let state = hook_state(spec, bundle)?;
    let (root, streams) = enter_root(config, bundle, handed, console.as_ref(), |root| {
        run_hooks(config, control, state.as_ref())?;
        surroundings::make_working_folder(root, &spec.process.cwd).map_err(Into::into)
    })?;
    let identity = identity::resolve(&root, &spec.process.user, become_program::has_home(spec))?;
    if let Some(maps) = Maps::parse(&spec.linux)? {
        identity.check(&maps)?;
    }
    terminal::give_away(streams.as_ref(), identity.uid)?;
    become_program::find(spec, &root)?;
    Ok(Ready { identity, capabilities, filter, streams, listener, apparmor, state, notified })
}

/// The kind as `setns` has it, which takes no namespace of another one.
fn kind_of(kind: NamespaceKind) -> LinkNameSpaceType {
    match kind {
        NamespaceKind::Pid => LinkNameSpaceType::ProcessID,
        NamespaceKind::Network => LinkNameSpaceType::Network,
        NamespaceKind::Mount => LinkNameSpaceType::Mount,
        NamespaceKind::Ipc => LinkNameSpaceType::InterProcessCommunication,
        NamespaceKind::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
        NamespaceKind::User => LinkNameSpaceType::User,
        NamespaceKind::Cgroup => LinkNameSpaceType::ControlGroup,
        NamespaceKind::Time => LinkNameSpaceType::Time,
    }
}

/// The word of a kind, as the specification has it.
fn word(kind: NamespaceKind) -> &'static str {
    match kind {
        NamespaceKind::Pid => "pid",
        NamespaceKind::Network => "network",
        NamespaceKind::Mount => "mount",
        NamespaceKind::Ipc => "ipc",
        NamespaceKind::Uts => "uts",
        NamespaceKind::User => "user",
        NamespaceKind::Cgroup => "cgroup",
        NamespaceKind::Time => "time",
    }
}

/// Puts the root together and enters it; `last` is done before the host's files are gone.
fn enter_root(
    config: &Config,
    bundle: &Bundle,
    mut handed: Rest,
    console: Option<&OwnedFd>,
    last: impl FnOnce(&Beneath) -> Result<(), StageError>,
) -> Result<(Beneath, Option<[OwnedFd; 3]>), StageError> {
    let spec = &config.spec;
    let path = spec.root.as_ref().map_or("rootfs", |root| root.path.as_str());
    if !shape::is_new(spec, NamespaceKind::Mount) {
        let joined = bundle.joins.contains(&NamespaceKind::Mount);
        let root = entrance::open(if joined { "/" } else { path })?;
        last(&root)?;
        entrance::change(&root)?;
        let streams = console.map(|socket| terminal::make(&root, socket, spec, true)).transpose()?;
        return Ok((root, streams));
    }
    let way = Way {
        read_only: spec.root.as_ref().is_some_and(|root| root.readonly),
        no_pivot: bundle.no_pivot,
        propagation: spec.linux.rootfs_propagation.as_deref().and_then(propagation),
    };
    let given = handed.next_if(bundle.root_given)?;
    let root = entrance::take_folder(path, way, given)?;
    for (index, mount) in spec.mounts.iter().enumerate() {
        let source = handed.next_if(bundle.sources.contains(&index))?;
        let given = Given { sysfs_is_kept: false, own_users: config.own_users, source };
        mounts::apply(&root, mount, given)?;
    }
    if mounts::owns_dev(&spec.mounts) {
        let origin = if config.own_users { Origin::Host } else { Origin::New };
        nodes::make(&root, &spec.linux.devices, origin)?;
    }
    let streams = console.map(|socket| terminal::make(&root, socket, spec, true)).transpose()?;
    last(&root)?;
    masks::write_protect(&root, &spec.linux.readonly_paths)?;
    masks::mask(&root, &spec.linux.masked_paths)?;
    entrance::enter(&root, way)?;
    Ok((root, streams))
}

/// The state as the hooks that this process runs get it, if there are any.
fn hook_state(spec: &Spec, bundle: &Bundle) -> Result<Option<State>, StageError> {
    let ours = spec
        .hooks
        .as_ref()
        .filter(|hooks| !hooks.create_container.is_empty() || !hooks.start_container.is_empty());
    if ours.is_none() {
        return Ok(None);
    }
    Ok(Some(State { pid: host_pid()?, ..bundle.state.clone() }))
}

/// The number of this process for the host, whose /proc is still there.
pub fn host_pid() -> Result<i32, StageError> {
    Ok(std::fs::read_link("/proc/self")?.to_string_lossy().parse()?)
}

/// Lets the runtime run its hooks, and runs those that belong here.
fn run_hooks(config: &Config, control: &mut UnixStream, state: Option<&State>) -> Result<(), StageError> {
    let Some(list) = &config.spec.hooks else { return Ok(()) };
    if !list.prestart.is_empty() || !list.create_runtime.is_empty() {
        control.write_all(&[HOOKS])?;
        let mut word = [0];
        control.read_exact(&mut word)?;
        if word != [START] {
            return Err("the runtime says something else than start".into());
        }
    }
    if let Some(state) = state {
        hooks::run("createContainer", &list.create_container, state)?;
    }
    Ok(())
}

/// Runs the hooks between the start and the program.
pub fn run_start_hooks(config: &Config, state: Option<&State>) -> Result<(), StageError> {
    if let (Some(list), Some(state)) = (&config.spec.hooks, state) {
        let state = State { status: bulkhead_protocol::oci::Status::Created, ..state.clone() };
        hooks::run("startContainer", &list.start_container, &state)?;
    }
    Ok(())
}
