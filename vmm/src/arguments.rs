//! The command line: Firecracker's, and what this VMM adds.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::config::Logger;

/// Where the API's socket is when nobody says: Firecracker's place.
const DEFAULT_SOCKET: &str = "/run/firecracker.socket";
/// The name of a machine that is given none: Firecracker's.
pub const DEFAULT_ID: &str = "anonymous-instance";
/// Firecracker's limit on a request's body, in bytes.
const DEFAULT_PAYLOAD: usize = 51200;

/// What `--help` prints.
pub const HELP: &str = "\
bulkhead-vmm: one process, one microVM

  --config-file FILE      start the machine that this Firecracker configuration describes
  --api-sock PATH         serve Firecracker's API on this Unix socket (/run/firecracker.socket)
  --no-api                serve no API; needs --config-file
  --id ID                 the machine's name (anonymous-instance)
  --exit-record-fd N      write a line of JSON that says how the machine ended to descriptor N
  --http-api-max-payload-size BYTES   limit on a request's body (51200)
  --metadata FILE         JSON for the metadata service
  --mmds-size-limit BYTES   limit on the metadata (that of a request's body)
  --boot-timer            let the guest say that it has booted, and log how long it took
  --log-path FILE         write messages to this file or named pipe (standard output)
  --level LEVEL           write messages of Error, Warning, Info, Debug, Trace or Off (Info)
  --module NAME           write only messages of modules whose name begins so
  --show-level, --show-log-origin     write each message's level, and its place in the source
  --metrics-path FILE     write figures as lines of JSON to this file or named pipe
  --start-time-us N, --start-time-cpu-us N, --parent-cpu-time-us N
                          times of a starter, from which the figures tell how long the start took
  --no-seccomp            of no effect: there is no filter yet
  --version, --help

Without --log-path, --level, --module, --show-level, --show-log-origin or --boot-timer there are no messages
until the API or the configuration asks for them.";

/// Arguments without a value.
const FLAGS: [&str; 5] = ["--no-api", "--show-level", "--show-log-origin", "--boot-timer", "--no-seccomp"];

/// What Firecracker has and this VMM has not yet.
const NOT_YET: [&str; 4] = ["--enable-pci", "--seccomp-filter", "--describe-snapshot", "--snapshot-version"];

/// What is wrong with the arguments.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ArgumentError {
    /// Nobody knows it.
    #[error("Unknown argument {0:?}")]
    Unknown(OsString),
    /// Its value is missing.
    #[error("Argument {0} needs a value")]
    MissingValue(&'static str),
    /// Its value is not what it should be.
    #[error("Argument {name} cannot be {value:?}")]
    Value {
        /// The argument.
        name: &'static str,
        /// The value.
        value: OsString,
    },
    /// It is no level of messages.
    #[error("Argument --level cannot be used: {0}")]
    Level(String),
    /// Given twice.
    #[error("Argument {0} is given twice")]
    Twice(&'static str),
    /// Without an API a machine must come from a file.
    #[error("--no-api needs --config-file and excludes --api-sock")]
    NoApi,
    /// Firecracker has it, this VMM has not.
    #[error("{0} is not supported yet by this VMM")]
    NotYet(&'static str),
}

/// What the process shall do.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Run a machine.
    Run(Box<Arguments>),
    /// Print [`HELP`].
    Help,
    /// Print the version.
    Version,
}

/// How to run a machine.
#[derive(Debug, PartialEq, Eq)]
pub struct Arguments {
    /// The configuration to start with.
    pub config_file: Option<PathBuf>,
    /// The API's socket.
    pub api_sock: Option<PathBuf>,
    /// The machine's name.
    pub id: String,
    /// The descriptor for the exit record.
    pub exit_record_fd: Option<i32>,
    /// The largest body of a request, in bytes.
    pub max_payload: usize,
    /// The metadata to start with.
    pub metadata: Option<PathBuf>,
    /// The most metadata, in bytes.
    pub mmds_limit: usize,
    /// Which messages are written and where; none when nobody asks.
    pub logger: Option<Logger>,
    /// Where figures are written.
    pub metrics_path: Option<PathBuf>,
    /// Whether the guest can say that it has booted.
    pub boot_timer: bool,
    /// When the start began.
    pub started: Started,
}

/// What a starter says of the time before this process ran, in microseconds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// The monotonic clock when it began.
    pub monotonic_us: Option<u64>,
    /// This process's processor time then.
    pub processor_us: Option<u64>,
    /// The processor time that it used itself.
    pub parent_us: Option<u64>,
}

/// The version of Firecracker's specification that this VMM follows.
pub const FIRECRACKER: &str = "1.17.0";

/// What `--version` prints.
pub fn version(program: Option<OsString>) -> String {
    match product(program) {
        ("Firecracker", version) => format!("Firecracker v{version}"),
        (_, version) => format!("Bulkhead VMM v{version}"),
    }
}

/// The name and the version that clients are told. Programs that drive Firecracker look for its name, so it is
/// theirs when this is installed under that name.
pub fn product(program: Option<OsString>) -> (&'static str, &'static str) {
    let name = program.map(PathBuf::from).and_then(|path| path.file_name().map(OsString::from));
    if name.is_some_and(|name| name == "firecracker") {
        return ("Firecracker", FIRECRACKER);
    }
    ("Bulkhead", env!("CARGO_PKG_VERSION"))
}

/// Reads the arguments that follow the program's name.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, ArgumentError> {
    let mut given = Given::default();
    let mut words = arguments.into_iter();
    while let Some(word) = words.next() {
        let (name, inline) = split(&word);
        match name.as_str() {
            "--help" | "-h" => return Ok(Command::Help),
            "--version" | "-V" => return Ok(Command::Version),
            name => {
                if let Some(name) = NOT_YET.into_iter().find(|other| *other == name) {
                    return Err(ArgumentError::NotYet(name));
                }
                if let Some(flag) = FLAGS.into_iter().find(|other| *other == name) {
                    given.set(flag, inline.unwrap_or_default())?;
                    continue;
                }
                let Some(slot) = Given::NAMES.into_iter().find(|other| *other == name) else {
                    return Err(ArgumentError::Unknown(word));
                };
                let value = inline.or_else(|| words.next()).ok_or(ArgumentError::MissingValue(slot))?;
                given.set(slot, value)?;
            }
        }
    }
    given.finish().map(|arguments| Command::Run(Box::new(arguments)))
}

/// `--name=value` in its halves.
fn split(word: &OsString) -> (String, Option<OsString>) {
    match word.to_str().and_then(|text| text.split_once('=')) {
        Some((name, value)) if name.starts_with("--") => (name.to_owned(), Some(value.into())),
        _ => (word.to_string_lossy().into_owned(), None),
    }
}

#[derive(Default)]
struct Given(Vec<(&'static str, OsString)>);

impl Given {
    const NAMES: [&'static str; 14] = [
        "--config-file",
        "--api-sock",
        "--id",
        "--exit-record-fd",
        "--http-api-max-payload-size",
        "--metadata",
        "--mmds-size-limit",
        "--log-path",
        "--level",
        "--module",
        "--metrics-path",
        "--start-time-us",
        "--start-time-cpu-us",
        "--parent-cpu-time-us",
    ];

    fn set(&mut self, name: &'static str, value: OsString) -> Result<(), ArgumentError> {
        if self.0.iter().any(|(other, _)| *other == name) {
            return Err(ArgumentError::Twice(name));
        }
        self.0.push((name, value));
        Ok(())
    }

    fn flag(&mut self, name: &'static str) -> Option<bool> {
        self.take(name).map(|_| true)
    }

    fn take(&mut self, name: &'static str) -> Option<OsString> {
        let at = self.0.iter().position(|(other, _)| *other == name)?;
        Some(self.0.swap_remove(at).1)
    }

    fn number<T: std::str::FromStr>(&mut self, name: &'static str) -> Result<Option<T>, ArgumentError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match value.to_str().and_then(|text| text.parse().ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(ArgumentError::Value { name, value }),
        }
    }

    fn finish(mut self) -> Result<Arguments, ArgumentError> {
        let config_file = self.take("--config-file").map(PathBuf::from);
        let mut api_sock = self.take("--api-sock").map(PathBuf::from);
        if self.flag("--no-api").is_some() {
            if config_file.is_none() || api_sock.is_some() {
                return Err(ArgumentError::NoApi);
            }
        } else {
            api_sock.get_or_insert_with(|| DEFAULT_SOCKET.into());
        }
        // Confinement comes later: there is nothing to switch off.
        self.flag("--no-seccomp");
        let boot_timer = self.flag("--boot-timer").is_some();
        let logger = self.logger()?.or_else(|| boot_timer.then(Logger::default));
        let max_payload = self.number("--http-api-max-payload-size")?.unwrap_or(DEFAULT_PAYLOAD);
        let id = self.take("--id").unwrap_or_else(|| DEFAULT_ID.into());
        Ok(Arguments {
            config_file,
            api_sock,
            id: checked_id(id)?,
            exit_record_fd: self.number::<u16>("--exit-record-fd")?.map(i32::from),
            max_payload,
            metadata: self.take("--metadata").map(PathBuf::from),
            mmds_limit: self.number("--mmds-size-limit")?.unwrap_or(max_payload),
            logger,
            metrics_path: self.take("--metrics-path").map(PathBuf::from),
            boot_timer,
            started: Started {
                monotonic_us: self.number("--start-time-us")?,
                processor_us: self.number("--start-time-cpu-us")?,
                parent_us: self.number("--parent-cpu-time-us")?,
            },
        })
    }

    fn logger(&mut self) -> Result<Option<Logger>, ArgumentError> {
        let level = self.take("--level").map(|level| level.to_string_lossy().parse());
        let module = self.take("--module").map(|value| match value.into_string() {
            Ok(module) => Ok(module),
            Err(value) => Err(ArgumentError::Value { name: "--module", value }),
        });
        let logger = Logger {
            log_path: self.take("--log-path").map(PathBuf::from),
            level: level.transpose().map_err(ArgumentError::Level)?,
            show_level: self.flag("--show-level"),
            show_log_origin: self.flag("--show-log-origin"),
            module: module.transpose()?,
        };
        Ok((logger != Logger::default()).then_some(logger))
    }
}

/// Firecracker's rule: 1 to 64 letters, digits and hyphens.
fn checked_id(value: OsString) -> Result<String, ArgumentError> {
    let fine = |text: &str| {
        (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    match value.to_str() {
        Some(text) if fine(text) => Ok(text.to_owned()),
        _ => Err(ArgumentError::Value { name: "--id", value }),
    }
}

#[cfg(test)]
#[path = "arguments_tests.rs"]
mod tests;
