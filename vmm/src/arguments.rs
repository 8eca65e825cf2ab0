//! The command line: Firecracker's, and what this VMM adds.

use std::ffi::OsString;
use std::path::PathBuf;

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
  --version, --help

Taken for Firecracker's sake and of no effect: --level, --log-path, --module, --show-level,
--show-log-origin, --boot-timer, --no-seccomp, --start-time-us, --start-time-cpu-us,
--parent-cpu-time-us.";

/// Arguments without effect, and whether a value follows them.
const WITHOUT_EFFECT: [(&str, bool); 10] = [
    ("--level", true),
    ("--log-path", true),
    ("--module", true),
    ("--show-level", false),
    ("--show-log-origin", false),
    ("--boot-timer", false),
    ("--no-seccomp", false),
    ("--start-time-us", true),
    ("--start-time-cpu-us", true),
    ("--parent-cpu-time-us", true),
];

/// What Firecracker has and this VMM has not yet.
const NOT_YET: [&str; 5] =
    ["--enable-pci", "--metrics-path", "--seccomp-filter", "--describe-snapshot", "--snapshot-version"];

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
    Run(Arguments),
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
}

/// The version of Firecracker's specification that this VMM follows.
pub const FIRECRACKER: &str = "1.17.0";

/// What `--version` prints. Programs that drive Firecracker read it, so it says what they look for when it
/// is installed under that name.
pub fn version(program: Option<OsString>) -> String {
    let name = program.map(PathBuf::from).and_then(|path| path.file_name().map(OsString::from));
    if name.is_some_and(|name| name == "firecracker") {
        return format!("Firecracker v{FIRECRACKER}");
    }
    format!("Bulkhead VMM v{}", env!("CARGO_PKG_VERSION"))
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
            "--no-api" => given.no_api = true,
            name => {
                if let Some(name) = NOT_YET.into_iter().find(|other| *other == name) {
                    return Err(ArgumentError::NotYet(name));
                }
                if let Some((name, valued)) = WITHOUT_EFFECT.into_iter().find(|(other, _)| *other == name) {
                    if valued && inline.is_none() {
                        words.next().ok_or(ArgumentError::MissingValue(name))?;
                    }
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
    given.finish().map(Command::Run)
}

/// `--name=value` in its halves.
fn split(word: &OsString) -> (String, Option<OsString>) {
    match word.to_str().and_then(|text| text.split_once('=')) {
        Some((name, value)) if name.starts_with("--") => (name.to_owned(), Some(value.into())),
        _ => (word.to_string_lossy().into_owned(), None),
    }
}

#[derive(Default)]
struct Given {
    values: Vec<(&'static str, OsString)>,
    no_api: bool,
}

impl Given {
    const NAMES: [&'static str; 7] = [
        "--config-file",
        "--api-sock",
        "--id",
        "--exit-record-fd",
        "--http-api-max-payload-size",
        "--metadata",
        "--mmds-size-limit",
    ];

    fn set(&mut self, name: &'static str, value: OsString) -> Result<(), ArgumentError> {
        if self.values.iter().any(|(other, _)| *other == name) {
            return Err(ArgumentError::Twice(name));
        }
        self.values.push((name, value));
        Ok(())
    }

    fn take(&mut self, name: &'static str) -> Option<OsString> {
        let at = self.values.iter().position(|(other, _)| *other == name)?;
        Some(self.values.swap_remove(at).1)
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
        if self.no_api {
            if config_file.is_none() || api_sock.is_some() {
                return Err(ArgumentError::NoApi);
            }
        } else {
            api_sock.get_or_insert_with(|| DEFAULT_SOCKET.into());
        }
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
        })
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
mod tests {
    use super::*;

    fn run(words: &[&str]) -> Result<Command, ArgumentError> {
        parse(words.iter().map(OsString::from))
    }

    #[test]
    fn firecrackers_common_line_is_taken() {
        let Ok(Command::Run(arguments)) =
            run(&["--api-sock", "/s", "--id=a-1", "--config-file", "/c", "--boot-timer", "--level", "Info"])
        else {
            panic!("refused");
        };
        assert_eq!(arguments.api_sock, Some("/s".into()));
        assert_eq!((arguments.id.as_str(), arguments.max_payload), ("a-1", 51200));
    }

    #[test]
    fn metadata_may_be_as_long_as_a_request_unless_told_otherwise() {
        let limit = |words: &[&str]| match run(words) {
            Ok(Command::Run(arguments)) => arguments.mmds_limit,
            other => panic!("{other:?}"),
        };
        assert_eq!(limit(&["--metadata", "/m"]), DEFAULT_PAYLOAD);
        assert_eq!(limit(&["--http-api-max-payload-size", "7"]), 7);
        assert_eq!(limit(&["--http-api-max-payload-size", "7", "--mmds-size-limit", "9"]), 9);
        assert!(matches!(run(&["--mmds-size-limit", "x"]), Err(ArgumentError::Value { .. })));
    }

    #[test]
    fn the_version_follows_the_name() {
        assert_eq!(version(Some("/usr/bin/firecracker".into())), "Firecracker v1.17.0");
        assert!(version(Some("bulkhead-vmm".into())).starts_with("Bulkhead VMM v"));
    }

    #[test]
    fn without_words_the_api_is_served_in_its_usual_place() {
        let Ok(Command::Run(arguments)) = run(&[]) else { panic!("refused") };
        assert_eq!(arguments.api_sock, Some(DEFAULT_SOCKET.into()));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!(run(&["--no-api"]), Err(ArgumentError::NoApi));
        assert_eq!(run(&["--no-api", "--config-file", "/c", "--api-sock", "/s"]), Err(ArgumentError::NoApi));
        assert_eq!(run(&["--enable-pci"]), Err(ArgumentError::NotYet("--enable-pci")));
        assert_eq!(run(&["--id"]), Err(ArgumentError::MissingValue("--id")));
        assert_eq!(run(&["--id", "a", "--id", "b"]), Err(ArgumentError::Twice("--id")));
        assert!(matches!(run(&["--id", "../x"]), Err(ArgumentError::Value { .. })));
        assert!(matches!(run(&["--exit-record-fd", "-1"]), Err(ArgumentError::Value { .. })));
        assert!(matches!(run(&["--colour"]), Err(ArgumentError::Unknown(_))));
        assert!(matches!(run(&["file"]), Err(ArgumentError::Unknown(_))));
    }
}
