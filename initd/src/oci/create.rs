//! `create`: everything up to the moment before the program runs.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use bulkhead_protocol::oci::{NamespaceKind, State, Status};

use super::arguments::{Flag, Words};
use super::bundle::Bundle;
use super::error::OciError;
use super::process::{self, Console, Heard};
use super::record::{self, Record};
use super::store::Entry;
use super::{Runtime, check, joins, output, users};
use crate::container::spawn::{self, Program};
use crate::container::{hooks, shape, stage};
use crate::isolation::cgroup::{Cgroup, CgroupError, Swap};
use crate::isolation::device_filter::{self, Rule};
use crate::isolation::user_namespace::{self, Maps};

/// What `create` takes.
pub const FLAGS: &[Flag] = &[
    Flag::value("bundle").short('b'),
    Flag::value("console-socket"),
    Flag::value("pid-file"),
    Flag::switch("no-pivot"),
    Flag::switch("no-new-keyring"),
    Flag::value("preserve-fds"),
];

/// Makes a container, which waits for its start.
pub fn verb(runtime: &Runtime, words: &Words) -> Result<u8, OciError> {
    make(runtime, words, true, false).map(|_| 0)
}

/// A container whose process is ready.
pub struct Made {
    /// What is kept of it.
    pub entry: Entry,
    /// What is known of it.
    pub record: Record,
    /// Its specification.
    pub bundle: Bundle,
    /// Where its process waits, unless it waits for `start`.
    pub control: UnixStream,
    /// The process.
    pub process: OwnedFd,
    /// Where the other side of its terminal comes, if that is ours to show.
    pub console: Option<UnixStream>,
}

/// What the command line says, with paths that hold in every folder.
struct Asked {
    console_socket: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    preserve: u32,
    /// The process waits for `start`.
    waits: bool,
}

impl Asked {
    fn new(words: &Words, waits: bool) -> Result<Self, OciError> {
        let path = |flag| {
            let absolute = |path: &str| std::path::absolute(path).map_err(OciError::file("find", path));
            words.value(flag).filter(|path| !path.is_empty()).map(absolute).transpose()
        };
        Ok(Self {
            console_socket: path("console-socket")?,
            pid_file: path("pid-file")?,
            preserve: words.number("preserve-fds")?.unwrap_or(0),
            waits,
        })
    }
}

/// Makes a container, which `waits` for its start or not; the caller `stays` with it to its end or not. Where that
/// fails nothing is left of it.
pub fn make(runtime: &Runtime, words: &Words, waits: bool, stays: bool) -> Result<Made, OciError> {
    let id = words.id()?;
    let asked = Asked::new(words, waits)?;
    let program = process::program()?;
    let mut bundle = Bundle::enter(words.value("bundle").unwrap_or("."))?;
    for warning in check::check(&mut bundle.spec)? {
        runtime.log.warn(&warning);
    }
    let spec = &bundle.spec;
    let Console { theirs, ours } =
        Console::new(spec.process.terminal, asked.console_socket.as_deref(), stays)?;
    let cgroup = match spec.linux.cgroups_path.as_deref() {
        Some(path) => Cgroup::at(path),
        None => Cgroup::at(&format!("{}/{id}", super::NAME)),
    };
    let entry = runtime.store.take(id)?;
    let mut record = Record::new(id, &bundle, &cgroup);
    let made = make_in(&program, &entry, &mut record, &bundle, words, &asked, theirs);
    match made {
        Ok((control, process)) => Ok(Made { entry, record, bundle, control, process, console: ours }),
        Err(error) => {
            // The cause is told; what else fails on the way back is not. A group that others use is left.
            if !matches!(error, OciError::Cgroup(CgroupError::Taken { .. })) {
                let _ = cgroup.destroy();
            }
            process::reap(record.pid);
            let _ = entry.remove();
            Err(error)
        }
    }
}

fn make_in(
    program: &Program,
    entry: &Entry,
    record: &mut Record,
    bundle: &Bundle,
    words: &Words,
    asked: &Asked,
    socket: Option<UnixStream>,
) -> Result<(UnixStream, OwnedFd), OciError> {
    let spec = &bundle.spec;
    let rules = spec.linux.resources.as_ref().map_or(&[][..], |resources| &resources.devices);
    let rules = Rule::of_bundle(rules)?;
    // Known before it is made, so that whatever happens it can be removed.
    entry.keep(record)?;
    entry.keep_spec(&bundle.text)?;
    let cgroup = record.cgroup();
    cgroup.make()?;
    if let Some(resources) = &spec.linux.resources {
        cgroup.limit(resources, Swap::Open)?;
    }
    let directory = cgroup.open()?;
    device_filter::restrict(&directory, &rules)?;
    let listener = asked.waits.then(|| listen(entry)).transpose()?;
    let joins = joins::open(spec)?;
    let given = users::take_mounts(spec, |maps| namespace_of(program, &cgroup, maps))?;
    let config = stage::Config {
        hostname: spec.hostname.clone().filter(|name| !name.is_empty()),
        own_network: shape::is_new(spec, NamespaceKind::Network),
        own_users: shape::own_users(spec),
        world: stage::World::Bundle(Box::new(stage::Bundle {
            joins: joins.kinds(),
            console: socket.is_some(),
            waits: asked.waits,
            sources: given.indices(),
            root_given: given.root(),
            no_pivot: words.has("no-pivot"),
            keyring: (!words.has("no-new-keyring")).then(|| format!("_ses.{}", record.id)),
            preserve: asked.preserve,
            state: record.state(Status::Creating),
        })),
        spec: spec.clone(),
    };
    let mut handed: Vec<BorrowedFd<'_>> = joins.descriptors().collect();
    handed.extend(socket.as_ref().map(|socket| socket.as_fd()));
    handed.extend(listener.as_ref().map(|listener| listener.as_fd()));
    handed.extend(given.descriptors());
    let flags = shape::new_namespaces(spec);
    let child = joins.spawn(|| process::spawn(program, flags, directory.as_fd(), &config, &handed))?;
    record.pid = child.pid;
    record.started = record::started(child.pid).unwrap_or(0);
    let mut control = child.control;
    drop((socket, listener));
    if let Some(gate) = child.gate {
        users::settle(child.pid, gate, spec, &given)?;
    }
    drop(given);
    let failed = |heard| process::failure("create", &record.id, heard, Some(&cgroup));
    loop {
        match process::hear(&mut control).map_err(failed)? {
            Heard::Prepared => break,
            Heard::Hooks => run_hooks(bundle, &record.state(Status::Creating), &mut control)?,
        }
    }
    entry.keep(record)?;
    if let Some(path) = &asked.pid_file {
        output::pid_file(path, record.pid)?;
    }
    Ok((control, child.process))
}

/// A user namespace with these maps, of a process that has ended when this returns.
fn namespace_of(program: &Program, cgroup: &Cgroup, maps: &Maps) -> Result<OwnedFd, OciError> {
    let flag = u64::from(shape::flag(NamespaceKind::User).unsigned_abs());
    let child = spawn::spawn(program, flag, cgroup.open()?.as_fd(), &[])?;
    let made = maps.write(child.pid).and_then(|()| user_namespace::open(child.pid));
    // Nobody lets it in: it ends at its gate.
    drop(child.gate);
    process::reap(child.pid);
    Ok(made?)
}

/// The hooks that belong before the root is entered, in the runtime's namespaces.
fn run_hooks(bundle: &Bundle, state: &State, control: &mut UnixStream) -> Result<(), OciError> {
    if let Some(list) = &bundle.spec.hooks {
        hooks::run("prestart", &list.prestart, state)?;
        hooks::run("createRuntime", &list.create_runtime, state)?;
    }
    process::say(control, &state.id, "create", stage::START)
}

/// The socket where the container's process waits for `start`.
fn listen(entry: &Entry) -> Result<UnixListener, OciError> {
    let failed = |error| OciError::file("make the socket", entry.socket())(error);
    let name = Path::new("start");
    // A socket's name has an end at 108 bytes; a folder's handle is short whatever its name.
    let folder = std::fs::File::open(entry.path()).map_err(failed)?;
    let path = spawn::handle_path(&folder).join(name);
    UnixListener::bind(path).map_err(failed)
}
