//! What a container's first process does between the moment it is made and the moment its program runs.
//!
//! It runs as this program under another name, in the container's namespaces and cgroup, and says what went
//! wrong on the socket it was given. That socket closes by itself when the program begins.
#![allow(unsafe_code, reason = "the descriptors that process 1 handed over are taken by their numbers")]

mod become_program;
mod privileges;
mod surroundings;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use bulkhead_protocol::oci::Spec;
use rustix::fs::{Gid, Uid};
use serde::{Deserialize, Serialize};

use crate::console;
use crate::isolation::capabilities::Sets;
use crate::isolation::seccomp::Program as Filter;
use crate::isolation::user_namespace::Maps;
use crate::rootfs::identity::IdentityError;
use crate::rootfs::overlay::Layer;
use crate::rootfs::{RootfsError, files, identity, masks, mounts, nodes, overlay, volume};

/// The name under which this program is a container's first process.
pub const NAME: &str = "bulkhead-stage";

/// What the process says when everything but the program is ready.
pub const PREPARED: u8 = b'P';

/// What it is told to go on.
pub const START: u8 = b'S';

/// Its status when anything but the program failed.
const FAILED: u8 = 125;

/// The largest configuration that is read, in bytes: a request's body, and what JSON adds when it is written
/// anew.
const MAX_CONFIG: u64 = 4 << 20;

/// What process 1 tells a container's first process.
#[derive(Debug, Serialize, Deserialize)]
pub struct Config {
    /// The specification, checked.
    pub spec: Spec,
    /// The container's host name.
    pub hostname: String,
    /// The guest's addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// Who resolves names.
    pub resolvers: Vec<Ipv4Addr>,
    /// How many bytes may be written to the root where memory takes them.
    pub layer_bytes: u64,
    /// A disk takes what is written to the root: the first of the descriptors behind the root's.
    pub layer_disk: bool,
    /// The container has a network of its own.
    pub own_network: bool,
    /// The container has users of its own: process 1 has made what the container's root cannot.
    pub own_users: bool,
    /// Where the volumes go, in the order of their descriptors.
    pub volumes: Vec<String>,
}

/// What went wrong, as the process says it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// One sentence with all causes.
    pub message: String,
    /// The specification or the image is at fault.
    pub by_caller: bool,
}

/// An error of any step; the process that has it ends, and only its sentence goes on.
type StageError = Box<dyn std::error::Error>;

/// The descriptors that process 1 hands over, in its order.
struct Handed {
    control: UnixStream,
    config: File,
    streams: [OwnedFd; 3],
    root: OwnedFd,
    /// The root's writable layer, where that is a disk, and the volumes.
    disks: Vec<OwnedFd>,
}

/// Runs as a container's first process. `numbers` are the descriptors handed over, with commas.
pub fn enter(numbers: Option<&str>) -> ExitCode {
    let Some(handed) = numbers.and_then(take_descriptors) else {
        eprintln!("{NAME} is run by initd alone.");
        return ExitCode::from(2);
    };
    let Handed { mut control, config, streams, root, disks } = handed;
    let failure = match prepare(config, root, &disks) {
        Ok(ready) => match wait_for_start(&mut control, streams, &ready.identity) {
            Ok(()) => become_program::run(ready),
            Err(error) => Failure::of_guest(&*error),
        },
        Err(error) => Failure { by_caller: by_caller(&*error), ..Failure::of_guest(&*error) },
    };
    let report = Report { message: failure.message, by_caller: failure.by_caller };
    // If process 1 does not listen, there is nobody else to tell.
    let _ = serde_json::to_vec(&report).map(|text| control.write_all(&text));
    ExitCode::from(failure.code)
}

/// Why the process ends without its program.
struct Failure {
    message: String,
    by_caller: bool,
    code: u8,
}

impl Failure {
    fn of_guest(error: &dyn std::error::Error) -> Self {
        Self { message: console::chain(error), by_caller: false, code: FAILED }
    }
}

/// Whether another specification or image would have helped.
fn by_caller(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref().is_some_and(RootfsError::by_caller)
        || error.downcast_ref().is_some_and(IdentityError::by_caller)
}

/// Everything that is needed to become the program.
struct Ready {
    config: Config,
    identity: identity::Identity,
    capabilities: Sets,
    filter: Filter,
}

fn take_descriptors(numbers: &str) -> Option<Handed> {
    let numbers: Vec<i32> = numbers.split(',').map(|number| number.parse().ok()).collect::<Option<_>>()?;
    let distinct = (1..numbers.len()).all(|index| !numbers[..index].contains(&numbers[index]));
    if numbers.len() < 6 || !distinct || numbers.iter().any(|number| *number < 3) {
        return None;
    }
    let mut descriptors = numbers.into_iter().map(|number| {
        // SAFETY: process 1 opened these for us and told each number once (checked above); nothing else in
        // this process, which has just begun, owns them. A wrong number gives errors, not unsoundness: every
        // use is a system call.
        let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
        // What is handed over is for this program alone.
        let _ = rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC);
        descriptor
    });
    Some(Handed {
        control: descriptors.next()?.into(),
        config: descriptors.next()?.into(),
        streams: [descriptors.next()?, descriptors.next()?, descriptors.next()?],
        root: descriptors.next()?,
        disks: descriptors.collect(),
    })
}

/// Puts the container's world together and enters it.
fn prepare(config: File, lower: OwnedFd, disks: &[OwnedFd]) -> Result<Ready, StageError> {
    let mut text = Vec::new();
    config.take(MAX_CONFIG).read_to_end(&mut text)?;
    let config: Config = serde_json::from_slice(&text)?;
    let spec = &config.spec;
    let capabilities = Sets::parse(spec.process.capabilities.as_ref())?;
    let filter = Filter::build(spec.linux.seccomp.as_ref(), &capabilities)?;
    surroundings::settle(&config)?;
    let (layer, volumes) = disks.split_at(disks.len().min(usize::from(config.layer_disk)));
    if !config.own_users {
        let layer = layer.first().map_or(Layer::Memory(config.layer_bytes), Layer::Disk);
        overlay::assemble(&lower, layer, None)?;
    }
    drop(lower);
    let root = overlay::open()?;
    let sysfs_is_kept = config.own_users && !config.own_network;
    spec.mounts.iter().try_for_each(|mount| mounts::apply(&root, mount, sysfs_is_kept))?;
    if mounts::owns_dev(&spec.mounts) {
        nodes::make(&root, &spec.linux.devices, config.own_users)?;
    }
    for (volume, destination) in volumes.iter().zip(&config.volumes) {
        volume::attach_volume(&root, volume, destination)?;
    }
    files::write(&root, &spec.mounts, &config.hostname, &config.addresses, &config.resolvers)?;
    surroundings::make_working_folder(&root, &spec.process.cwd)?;
    masks::write_protect(&root, &spec.linux.readonly_paths)?;
    masks::mask(&root, &spec.linux.masked_paths)?;
    overlay::enter(&root, spec.root.as_ref().is_some_and(|root| root.readonly))?;
    let identity = identity::resolve(&root, &spec.process.user)?;
    if let Some(maps) = Maps::parse(&spec.linux)? {
        identity.check(&maps)?;
    }
    Ok(Ready { config, identity, capabilities, filter })
}

/// Says that all is ready, waits for the word, and takes the container's own streams.
fn wait_for_start(
    control: &mut UnixStream,
    streams: [OwnedFd; 3],
    identity: &identity::Identity,
) -> Result<(), StageError> {
    let [input, output, errors] = streams;
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    for stream in [&output, &errors] {
        // Who writes to /dev/stdout opens it anew, which its owner alone may do.
        rustix::fs::fchown(stream, Some(uid), Some(gid))
            .map_err(RootfsError::step("give away the output"))?;
    }
    control.write_all(&[PREPARED])?;
    let mut word = [0];
    control.read_exact(&mut word)?;
    if word != [START] {
        return Err("process 1 says something else than start".into());
    }
    rustix::stdio::dup2_stdin(input)?;
    rustix::stdio::dup2_stdout(output)?;
    rustix::stdio::dup2_stderr(errors)?;
    Ok(())
}
