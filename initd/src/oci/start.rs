//! `start`: the process of a container becomes its program.

use bulkhead_protocol::oci::{Hooks, State, Status};

use super::Runtime;
use super::arguments::Words;
use super::error::OciError;
use super::process;
use super::record::Record;
use super::store::Entry;
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
    poststart(runtime, entry.spec()?.hooks.as_ref(), &record.state(Status::Running));
    Ok(0)
}

/// Runs the poststart hooks; one that fails is told, and nothing else comes of it (`runtime.md`, "Lifecycle").
pub fn poststart(runtime: &Runtime, list: Option<&Hooks>, state: &State) {
    for hook in list.map_or(&[][..], |list| &list.poststart) {
        if let Err(error) = hooks::run("poststart", std::slice::from_ref(hook), state) {
            runtime.log.warn(&crate::console::chain(&error));
        }
    }
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
