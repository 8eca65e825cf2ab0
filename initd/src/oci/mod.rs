//! `bulkhead-oci`: this program as an OCI runtime with runc's command line (`runtime.md` of the specification).
//!
//! One file a verb. What makes a container is what makes a guest's containers: [`crate::container`],
//! [`crate::isolation`], [`crate::rootfs`]. Nothing here is asynchronous, and nothing stays when a verb is done.

mod arguments;
pub mod bundle;
pub mod check;
mod create;
mod delete;
mod error;
mod events;
mod exec;
mod features;
mod foreground;
mod joins;
mod kill;
mod list;
mod log;
mod output;
mod pause;
mod position;
mod process;
mod ps;
mod record;
mod run;
mod signals;
mod spec;
mod start;
mod store;
mod time;
mod update;
mod users;

use std::ffi::OsString;

use arguments::{Flag, Words};
use error::OciError;
use log::Log;
use store::Store;

/// The name under which this program is a runtime.
pub const NAME: &str = "bulkhead-oci";

/// Where containers are known, if `--root` does not say.
const ROOT: &str = "/run/bulkhead-oci";

const GLOBAL: &[Flag] = &[
    Flag::value("root"),
    Flag::value("log"),
    Flag::value("log-format"),
    Flag::switch("debug"),
    Flag::switch("systemd-cgroup"),
    Flag::value("rootless"),
    Flag::value("criu"),
    Flag::value("cgroup-manager"),
    Flag::switch("version").short('v'),
    Flag::switch("help").short('h'),
];

const USAGE: &str = "\
bulkhead-oci: an OCI runtime

Usage: bulkhead-oci [--root DIR] [--log FILE] [--log-format text|json] [--debug] VERB [FLAG]... [WORD]...

Verbs: create delete events exec features kill list pause ps resume run spec start state update
";

/// What a verb finds.
pub struct Runtime {
    store: Store,
    log: Log,
}

/// One verb: what it takes and what it does. Its answer is the process's status.
struct Verb {
    name: &'static str,
    flags: &'static [Flag],
    /// Flags end at the first word that is none, as those of a program follow.
    stops: bool,
    run: fn(&Runtime, &Words) -> Result<u8, OciError>,
}

const VERBS: &[Verb] = &[
    Verb { name: "create", flags: create::FLAGS, stops: false, run: create::verb },
    Verb { name: "delete", flags: delete::FLAGS, stops: false, run: delete::verb },
    Verb { name: "events", flags: events::FLAGS, stops: false, run: events::verb },
    Verb { name: "exec", flags: exec::FLAGS, stops: true, run: exec::verb },
    Verb { name: "features", flags: &[], stops: false, run: features::verb },
    Verb { name: "kill", flags: kill::FLAGS, stops: false, run: kill::verb },
    Verb { name: "list", flags: list::FLAGS, stops: false, run: list::verb },
    Verb { name: "pause", flags: &[], stops: false, run: pause::verb },
    Verb { name: "ps", flags: ps::FLAGS, stops: true, run: ps::verb },
    Verb { name: "resume", flags: &[], stops: false, run: pause::resume },
    Verb { name: "run", flags: run::FLAGS, stops: false, run: run::verb },
    Verb { name: "spec", flags: spec::FLAGS, stops: false, run: spec::verb },
    Verb { name: "start", flags: &[], stops: false, run: start::verb },
    Verb { name: "state", flags: &[], stops: false, run: list::state },
    Verb { name: "update", flags: update::FLAGS, stops: false, run: update::verb },
];

/// Whether the program was started as a runtime: `name` is its own name, as it was called.
pub fn is_asked(name: &str) -> bool {
    name.rsplit('/').next() == Some(NAME)
}

/// Runs a verb.
pub fn main(arguments: impl Iterator<Item = OsString>) -> u8 {
    let mut log = Log::default();
    match verb(arguments, &mut log) {
        Ok(code) => code,
        Err((error, code)) => {
            log.tell(&crate::console::chain(&error));
            code
        }
    }
}

fn verb(arguments: impl Iterator<Item = OsString>, log: &mut Log) -> Result<u8, (OciError, u8)> {
    let failed = |error| (error, 1);
    let words = arguments.map(|word| word.into_string().map_err(OciError::Encoding));
    let words = words.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let (global, rest) = arguments::parse(GLOBAL, words, true).map_err(failed)?.split();
    *log = Log::open(global.value("log"), global.value("log-format")).map_err(failed)?;
    if global.has("version") {
        output::print(&format!(
            "{NAME} version {}\nspec: {}\n",
            env!("CARGO_PKG_VERSION"),
            bundle::OCI_VERSION
        ))
        .map_err(failed)?;
        return Ok(0);
    }
    let mut rest = rest.into_iter();
    let name = match rest.next() {
        Some(name) if !global.has("help") && name != "help" => name,
        _ => return output::print(USAGE).map(|()| 0).map_err(failed),
    };
    let verb = VERBS.iter().find(|verb| verb.name == name);
    let verb = verb.ok_or_else(|| failed(OciError::NoVerb(name)))?;
    // What fails before a program of the container runs must not look like the program's own status.
    let code = if verb.name == "exec" { 255 } else { 1 };
    let failed = |error| (error, code);
    if global.has("systemd-cgroup") || global.value("cgroup-manager") == Some("systemd") {
        return Err(failed(OciError::Systemd));
    }
    let words = arguments::parse(verb.flags, rest.collect(), verb.stops).map_err(failed)?;
    let store = Store::new(global.value("root").unwrap_or(ROOT));
    let runtime = Runtime { store, log: std::mem::take(log) };
    let done = (verb.run)(&runtime, &words).map_err(failed);
    *log = runtime.log;
    done
}
