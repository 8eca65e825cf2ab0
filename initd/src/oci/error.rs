//! What goes wrong with a verb.

use std::ffi::OsString;
use std::io;

use crate::container::SpecError;
use crate::container::hooks::HookError;
use crate::container::spawn::SpawnError;
use crate::isolation::cgroup::CgroupError;
use crate::isolation::device_filter::{DeviceFilterError, RuleError};
use crate::isolation::user_namespace::UserNamespaceError;

/// What goes wrong with a verb.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// A word that is no text.
    #[error("The word {0:?} of the command line is not UTF-8")]
    Encoding(OsString),
    /// A verb that does not exist.
    #[error("There is no verb {0}; --help names them")]
    NoVerb(String),
    /// A flag that does not exist.
    #[error("There is no flag {0} here")]
    NoFlag(String),
    /// A flag without its value.
    #[error("The flag --{0} needs a value")]
    NoValue(&'static str),
    /// A flag with a value that it cannot have.
    #[error("The flag --{0} takes a number, and not {1:?}")]
    Number(&'static str, String),
    /// A flag with a value that it cannot have.
    #[error("The flag --{flag} cannot be {value:?}: {reason}")]
    Flag {
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: String,
        /// Why not.
        reason: &'static str,
    },
    /// The container is not named.
    #[error("A container's id is missing")]
    NoId,
    /// More words than the verb takes.
    #[error("The word {0:?} is one too many")]
    TooManyWords(String),
    /// cgroups by systemd.
    #[error("--systemd-cgroup is not offered: this runtime makes its cgroups itself")]
    Systemd,
    /// An id that none can have.
    #[error("The id {0:?} is not 1 to 255 of a-z, A-Z, 0-9, `_`, `+`, `.` and `-`, and neither `.` nor `..`")]
    Id(String),
    /// Somebody has that id.
    #[error("There is a container {0} already: container with id exists")]
    Exists(String),
    /// Nobody has that id.
    #[error("There is no container {0}: container does not exist")]
    Missing(String),
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
    /// A file of the host or of the state.
    #[error("Cannot {operation} {path}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("Cannot understand {path}")]
    Json {
        /// The file.
        path: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A property has a value that it cannot have, or of the wrong type.
    #[error("{path} is wrong at {property}")]
    Property {
        /// The file.
        path: String,
        /// The property.
        property: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The specification is wrong.
    #[error("Cannot use config.json")]
    Spec(#[from] SpecError),
    /// A hook is wrong or failed.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// The rules on devices are wrong.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// The control group.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The device filter.
    #[error(transparent)]
    Devices(#[from] DeviceFilterError),
    /// The process could not be made.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The user namespace.
    #[error(transparent)]
    Users(#[from] UserNamespaceError),
    /// What only the host's root can do for a container with users of its own.
    #[error("Cannot make the user namespace of the container")]
    Settle(#[from] crate::container::user_namespace::SettleError),
    /// The container's process says itself what failed.
    #[error("Cannot {verb} container {id}: {message}")]
    Stage {
        /// What was asked.
        verb: &'static str,
        /// The container.
        id: String,
        /// What it said.
        message: String,
    },
    /// The container's process could not be spoken with.
    #[error("Cannot {verb} container {id}")]
    Control {
        /// What was asked.
        verb: &'static str,
        /// The container.
        id: String,
        /// Why.
        source: io::Error,
    },
    /// A signal that does not exist.
    #[error("There is no signal {0}")]
    NoSignal(String),
    /// A signal could not be sent.
    #[error("Cannot send signal {signal} to container {id}")]
    Signal {
        /// The signal.
        signal: i32,
        /// The container.
        id: String,
        /// Why.
        source: io::Error,
    },
    /// The answer could not be written.
    #[error("Cannot write the answer")]
    Output(#[source] io::Error),
}

impl OciError {
    /// For `map_err`: a file that could not be used.
    pub fn file<E: Into<io::Error>>(
        operation: &'static str,
        path: impl AsRef<std::path::Path>,
    ) -> impl FnOnce(E) -> Self {
        move |error| Self::File { operation, path: path.as_ref().display().to_string(), source: error.into() }
    }
}
