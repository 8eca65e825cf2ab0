//! What a container's first process does between the moment it is made and the moment its program runs.
//!
//! It runs as this program under another name, in the container's namespaces and cgroup, and says what went
//! wrong on the socket it was given. That socket closes by itself when the program begins.
#![allow(unsafe_code, reason = "the descriptors that are handed over are taken by their numbers")]

mod become_program;
mod bundle;
mod config;
mod copy;
mod guest;
mod handed;
mod init;
mod inside;
mod notify;
mod privileges;
mod surroundings;
mod terminal;

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};

pub use config::{Bundle, Config, Guest, HOOKS, Inside, PREPARED, Report, START, World};
use handed::Handed;
pub use terminal::receive;

use bulkhead_archive::ArchiveError;
use bulkhead_protocol::oci::State;

use crate::console;
use crate::isolation::apparmor::Profile;
use crate::isolation::capabilities::Sets;
use crate::isolation::seccomp::Program as Filter;
use crate::rootfs::RootfsError;
use crate::rootfs::identity::{Identity, IdentityError};

/// The name under which this program is a container's first process.
pub const NAME: &str = "bulkhead-stage";

/// Its status when anything but the program failed.
const FAILED: u8 = 125;

/// An error of any step; the process that has it ends, and only its sentence goes on.
type StageError = Box<dyn std::error::Error>;

/// Runs as a container's first process. `numbers` are the descriptors handed over, with commas.
pub fn enter(numbers: Option<&str>) -> u8 {
    let Some(handed) = numbers.and_then(Handed::take) else {
        eprintln!("{NAME} is run by initd alone.");
        return 2;
    };
    let Handed { mut control, config, rest } = handed;
    let failure = match prepare(config, rest, &mut control) {
        Ok(Prepared::Program(program)) => {
            let (config, ready) = *program;
            go_on(&mut control, &config, ready)
        }
        Ok(Prepared::Copy(work)) => match wait_for_word(&mut control) {
            Ok(()) => return work.run(control),
            Err(error) => Failure::of_guest(&*error),
        },
        Err(error) => Failure { by_caller: by_caller(&*error), ..Failure::of_guest(&*error) },
    };
    let report = Report { message: failure.message, by_caller: failure.by_caller, code: failure.code };
    // If nobody listens, there is nobody else to tell.
    let _ = serde_json::to_vec(&report).map(|text| control.write_all(&text));
    failure.code
}

fn prepare(
    config: std::fs::File,
    rest: handed::Rest,
    control: &mut UnixStream,
) -> Result<Prepared, StageError> {
    let config = handed::read(config)?;
    let ready = match &config.world {
        World::Guest(guest) => guest::prepare(&config, guest, rest)?,
        World::Bundle(bundle) => bundle::prepare(&config, bundle, rest, control)?,
        World::Inside(inside) => inside::prepare(&config, inside, rest)?,
        World::Copy(request) => return Ok(Prepared::Copy(copy::prepare(&config, request, rest)?)),
    };
    Ok(Prepared::Program(Box::new((config, ready))))
}

/// What the process is ready for.
enum Prepared {
    /// To become a program.
    Program(Box<(Config, Ready)>),
    /// To copy.
    Copy(copy::Work),
}

/// From the moment that all is ready to the program. Returns only to say why it did not begin.
fn go_on(control: &mut UnixStream, config: &Config, mut ready: Ready) -> Failure {
    if let Err(error) = wait_for_start(control, &mut ready) {
        return Failure::of_guest(&*error);
    }
    if matches!(config.world, World::Bundle(_))
        && let Err(error) = bundle::run_start_hooks(config, ready.state.as_ref())
    {
        return Failure::of_guest(&*error);
    }
    become_program::run(config, ready)
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
        || error.is::<ArchiveError>()
}

/// Everything that is needed to become the program.
struct Ready {
    identity: Identity,
    capabilities: Sets,
    filter: Option<Filter>,
    /// Input, output and errors, where they are not there already.
    streams: Option<[OwnedFd; 3]>,
    /// Where the start comes from, if not from the one who made this process.
    listener: Option<UnixListener>,
    /// The AppArmor profile of the program.
    apparmor: Option<Profile>,
    /// Who is notified of system calls.
    notified: Option<notify::Listener>,
    /// What the hooks that this process runs are told.
    state: Option<State>,
}

/// Takes the container's own streams, says that all is ready, and waits for the word.
fn wait_for_start(control: &mut UnixStream, ready: &mut Ready) -> Result<(), StageError> {
    // Engines read what `create` writes to its end: with a terminal nothing of the container keeps it open.
    if let Some([input, output, errors]) = ready.streams.take() {
        rustix::stdio::dup2_stdin(input)?;
        rustix::stdio::dup2_stdout(output)?;
        rustix::stdio::dup2_stderr(errors)?;
    }
    let Some(listener) = ready.listener.take() else { return wait_for_word(control) };
    control.write_all(&[PREPARED])?;
    let mut word = [0];
    while word != [START] {
        // The one before is closed by this, so that who made us hears no more.
        *control = listener.accept()?.0;
        // Who goes without a word has not started anything.
        let _ = control.read(&mut word);
    }
    Ok(())
}

/// Says that all is ready to who made this process, and waits for the word.
fn wait_for_word(control: &mut UnixStream) -> Result<(), StageError> {
    control.write_all(&[PREPARED])?;
    let mut word = [0];
    control.read_exact(&mut word)?;
    match word {
        [START] => Ok(()),
        _ => Err("process 1 says something else than start".into()),
    }
}
