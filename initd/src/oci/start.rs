//! `start`: the process of a container becomes its program.

use bulkhead_protocol::oci::{Hooks, Status};
use rustix::process::Signal;

use super::Runtime;
use super::arguments::Words;
use super::error::OciError;
use super::record::Record;
use super::store::Entry;
use super::{kill, process};
use crate::container::{hooks, stage};

/// Starts a container.
pub fn verb(runtime: &Runtime, words: &Words) -> Result<u8, OciError> {
    let (entry, record) = find(runtime, words.id()?)?;
    let status = record.status(&entry);
    if status != Status::Created {
        return Err(state_error(&record, status, "started"));
    }
    let mut control = process::connect(&entry.socket())?;
    process::say(&mut control, &record.id, "start", stage::START)?;
    process::begun(&mut control).map_err(|heard| process::failure("start", &record.id, heard, None))?;
    // From now on it is running, whatever has become of it.
    std::fs::remove_file(entry.socket()).map_err(OciError::file("remove", entry.socket()))?;
    poststart(&record, entry.spec()?.hooks.as_ref()).map(|()| 0)
}

/// Runs the poststart hooks. One that fails is an error, and the container is stopped (`runtime.md`, "Lifecycle").
pub fn poststart(record: &Record, list: Option<&Hooks>) -> Result<(), OciError> {
    let Some(list) = list.filter(|list| !list.poststart.is_empty()) else { return Ok(()) };
    let done = hooks::run("poststart", &list.poststart, &record.state(Status::Running));
    if done.is_err() {
        let _ = kill::send(record, Signal::KILL);
        let _ = record.cgroup().kill();
    }
    Ok(done?)
}

/// A container that is known, and what is known of it.
pub fn find(runtime: &Runtime, id: &str) -> Result<(Entry, Record), OciError> {
    let entry = runtime.store.find(id)?;
    match entry.record()? {
        Some(record) => Ok((entry, record)),
        None => Err(OciError::Missing(id.to_owned())),
    }
}

/// A verb that does not fit the container's state.
pub fn state_error(record: &Record, status: Status, verb: &'static str) -> OciError {
    OciError::State { id: record.id.clone(), state: status.word(), verb }
}
