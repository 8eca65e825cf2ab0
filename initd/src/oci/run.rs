//! `run`: makes a container, starts it, and waits for its end.

use super::arguments::{Flag, Words};
use super::create::{self, Made};
use super::error::OciError;
use super::{Runtime, delete, process, signals, start};
use crate::container::stage;

/// What `run` takes.
pub const FLAGS: &[Flag] = &[
    Flag::value("bundle").short('b'),
    Flag::value("console-socket"),
    Flag::value("pid-file"),
    Flag::switch("no-pivot"),
    Flag::switch("no-new-keyring"),
    Flag::value("preserve-fds"),
    Flag::switch("detach").short('d'),
    Flag::switch("no-subreaper"),
    Flag::switch("keep"),
];

/// Runs a container; the program's status is ours.
pub fn verb(runtime: &Runtime, words: &Words) -> Result<u8, OciError> {
    let mut made = create::make(runtime, words, false, !words.has("detach"))?;
    let begun = begin(&mut made);
    if begun.is_ok() && words.has("detach") {
        return Ok(0);
    }
    let ended = match begun {
        Ok(()) => signals::wait(made.record.pid, &made.process, made.console.as_ref())
            .map_err(|source| OciError::Control { verb: "wait for", id: made.record.id.clone(), source }),
        Err(error) => Err(error),
    };
    if ended.is_err() {
        let _ = made.record.cgroup().kill();
        process::reap(made.record.pid);
    }
    let removed = if ended.is_ok() && words.has("keep") {
        Ok(())
    } else {
        delete::remove(runtime, &made.entry, &made.record, made.bundle.spec.hooks.as_ref())
    };
    let code = ended?.code;
    removed?;
    Ok(code)
}

fn begin(made: &mut Made) -> Result<(), OciError> {
    let id = made.record.id.clone();
    process::say(&mut made.control, &id, "start", stage::START)?;
    process::begun(&mut made.control).map_err(|heard| process::failure("start", &id, heard, None))?;
    start::poststart(&made.record, made.bundle.spec.hooks.as_ref())
}
