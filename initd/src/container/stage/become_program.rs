//! The last step: the environment, the search for the program, and exec.

use std::collections::HashSet;
use std::ffi::{CString, c_char};
use std::io;

use bulkhead_protocol::oci::Spec;
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use super::config::Config;
use super::{Failure, Ready, StageError, init, privileges};
use crate::console;
use crate::rootfs::beneath::{Beneath, Links};

/// Where programs are looked for when the environment does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A shell's status for a program that cannot be run.
const CANNOT_RUN: u8 = 126;

/// A shell's status for a program that is not there.
const NOT_FOUND: u8 = 127;

/// Why the program did not begin.
#[derive(Debug, thiserror::Error)]
enum ExecError {
    /// A working folder outside the container, or none.
    #[error("Cannot enter the working folder {path}")]
    Folder {
        /// The folder.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// No folder of PATH has it.
    #[error("Cannot run {name}: executable file not found in $PATH ({path})")]
    NotInPath {
        /// The program.
        name: String,
        /// Where it was looked for.
        path: String,
    },
    /// The kernel refused it.
    #[error("Cannot run {name}")]
    Exec {
        /// The program.
        name: String,
        /// Why.
        source: io::Error,
    },
}

impl ExecError {
    fn code(&self) -> u8 {
        match self {
            Self::NotInPath { .. } => NOT_FOUND,
            Self::Exec { source, .. } if source.kind() == io::ErrorKind::NotFound => NOT_FOUND,
            Self::Exec { .. } | Self::Folder { .. } => CANNOT_RUN,
        }
    }
}

/// Says that the program cannot be found, as long as whoever makes the container listens. What can be run is
/// for exec to say.
pub(super) fn find(spec: &Spec, root: &Beneath) -> Result<(), StageError> {
    let Some(name) = spec.process.args.first() else { return Ok(()) };
    let look = |path: &str| {
        let found = rustix::fs::fstat(root.open(path, OFlags::PATH, Links::Follow)?)?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => Err(Errno::ACCESS),
            _ if found.st_mode & 0o111 == 0 => Err(Errno::ACCESS),
            _ => Ok(()),
        }
    };
    if name.starts_with('/') {
        return look(name)
            .map_err(|error| ExecError::Exec { name: name.clone(), source: error.into() }.into());
    }
    let path = spec.process.env.iter().rev().find_map(|word| word.strip_prefix("PATH=")).unwrap_or(PATH);
    // What is named by the working folder is for exec to find.
    let relative = name.contains('/') || path.split(':').any(|folder| !folder.starts_with('/'));
    if relative || path.split(':').any(|folder| look(&format!("{folder}/{name}")).is_ok()) {
        return Ok(());
    }
    Err(ExecError::NotInPath { name: name.clone(), path: path.to_owned() }.into())
}

/// Whether the environment says where the user's home is.
pub(super) fn has_home(spec: &Spec) -> bool {
    spec.process.env.iter().any(|word| word.starts_with("HOME="))
}

/// Becomes the program. Returns only to say why not.
pub(super) fn run(config: &Config, mut ready: Ready) -> Failure {
    let environment = environment(config, &ready);
    let process = &config.spec.process;
    let folder = if process.cwd.is_empty() { "/" } else { process.cwd.as_str() };
    if let Err(error) = privileges::become_user(config, &ready) {
        return Failure::of_guest(&*error);
    }
    if let Err(error) = enter_folder(folder) {
        return failed(&error);
    }
    match become_it(config, &mut ready, &environment) {
        Ok(error) => failed(&error),
        Err(error) => Failure::of_guest(&*error),
    }
}

fn failed(error: &ExecError) -> Failure {
    Failure { message: console::chain(error), by_caller: true, code: error.code() }
}

/// Enters the working folder as the program's user, and makes sure that it lies in the container.
fn enter_folder(path: &str) -> Result<(), ExecError> {
    let failed = |source: io::Error| ExecError::Folder { path: path.to_owned(), source };
    rustix::process::chdir(path).map_err(|error| failed(error.into()))?;
    let reached = rustix::process::getcwd(Vec::new()).map_err(|error| failed(error.into()))?;
    if reached.as_bytes().starts_with(b"/") {
        return Ok(());
    }
    Err(failed(io::Error::other("it lies outside the container")))
}

/// What the program finds in its environment: the specification's words, and what every program expects.
fn environment(config: &Config, ready: &Ready) -> Vec<String> {
    let mut variables = Vec::new();
    let mut seen = HashSet::new();
    // The last word of a name counts.
    for word in config.spec.process.env.iter().rev() {
        let name = word.split('=').next().unwrap_or(word);
        if seen.insert(name) {
            variables.push(word.clone());
        }
    }
    variables.reverse();
    let home = ready.identity.home.as_deref().filter(|home| !home.is_empty()).unwrap_or("/");
    let hostname = config.hostname.as_deref().unwrap_or_default();
    for (name, value) in [("HOME", home), ("PATH", PATH), ("HOSTNAME", hostname)] {
        if !seen.contains(name) && (name == "HOME" || config.world.is_guest()) {
            variables.push(format!("{name}={value}"));
        }
    }
    variables
}

/// Tries every place where the program may be.
fn become_it(config: &Config, ready: &mut Ready, environment: &[String]) -> Result<ExecError, StageError> {
    let words = &config.spec.process.args;
    let name = words.first().ok_or("there is no program to run")?;
    let arguments = strings(words)?;
    let variables = strings(environment)?;
    restore_signals()?;
    close_the_rest(config.world.preserve())?;
    privileges::finish(config, ready)?;
    if init::is_wanted(&config.spec) {
        init::precede()?;
    }
    let exec = |source| ExecError::Exec { name: name.clone(), source };
    if name.contains('/') {
        return Ok(exec(execve(&CString::new(name.as_str())?, &arguments, &variables)));
    }
    let path = environment.iter().find_map(|word| word.strip_prefix("PATH=")).unwrap_or(PATH);
    let mut refused = None;
    for folder in path.split(':') {
        let folder = if folder.is_empty() { "." } else { folder };
        let error = execve(&CString::new(format!("{folder}/{name}"))?, &arguments, &variables);
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => {}
            Some(libc::EACCES) => refused = Some(error),
            _ => return Ok(exec(error)),
        }
    }
    Ok(match refused {
        Some(error) => exec(error),
        None => ExecError::NotInPath { name: name.clone(), path: path.to_owned() },
    })
}

fn strings(words: &[String]) -> Result<Vec<CString>, StageError> {
    Ok(words.iter().map(|word| CString::new(word.as_str())).collect::<Result<_, _>>()?)
}

/// Rust ignores SIGPIPE, and exec would hand that on.
#[allow(unsafe_code, reason = "rustix does not offer signal dispositions")]
fn restore_signals() -> Result<(), StageError> {
    // SAFETY: the default disposition runs no code of ours.
    let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    if before == libc::SIG_ERR { Err(io::Error::last_os_error().into()) } else { Ok(()) }
}

/// Marks everything above the three streams, and what shall be preserved, to be closed by exec.
#[allow(unsafe_code, reason = "rustix does not offer close_range")]
fn close_the_rest(preserve: u32) -> Result<(), StageError> {
    // SAFETY: with this flag nothing is closed now: descriptors stay valid until this process is another.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, 3 + preserve, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error().into()) }
}

/// Runs the program; returns only with the reason why not.
#[allow(unsafe_code, reason = "no safe exec takes exactly these arguments and this environment")]
fn execve(path: &CString, arguments: &[CString], variables: &[CString]) -> io::Error {
    let pointers = |words: &[CString]| -> Vec<*const c_char> {
        words.iter().map(|word| word.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (arguments, variables) = (pointers(arguments), pointers(variables));
    // SAFETY: both arrays end with a null pointer, and all strings live through the call.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), variables.as_ptr()) };
    io::Error::last_os_error()
}
