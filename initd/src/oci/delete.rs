//! `delete`: removes what is left of a container.

use bulkhead_protocol::oci::{Hooks, Status};
use rustix::process::Signal;

use super::Runtime;
use super::arguments::{Flag, Words};
use super::error::OciError;
use super::record::Record;
use super::store::Entry;
use super::{kill, start};
use crate::container::hooks;

/// What `delete` takes.
pub const FLAGS: &[Flag] = &[Flag::switch("force").short('f')];

/// Removes a container that does not run; with `--force`, one that does as well, and what is left of one whose
/// making or removing was cut short.
pub fn verb(runtime: &Runtime, words: &Words) -> Result<u8, OciError> {
    let (id, force) = (words.id()?, words.has("force"));
    let entry = match runtime.store.find(id) {
        Err(OciError::Missing(_)) if force => return Ok(0),
        entry => entry?,
    };
    let record = match entry.record() {
        Ok(Some(record)) => record,
        // Not even its group was there yet.
        Ok(None) | Err(_) if force => return entry.remove().map(|()| 0),
        Ok(None) => return Err(OciError::State { id: id.to_owned(), state: "creating", verb: "deleted" }),
        Err(error) => return Err(error),
    };
    match record.status(&entry) {
        Status::Stopped => {}
        // Nobody can start it any more once its process is gone.
        Status::Created => {}
        _ if force => {}
        status => return Err(start::state_error(&record, status, "deleted")),
    }
    // Its group is killed below; this is for a process that has left it.
    let _ = kill::send(&record, Signal::KILL);
    // Hooks of a specification that cannot be read are not run.
    let spec = entry.spec().ok();
    remove(runtime, &entry, &record, spec.as_ref().and_then(|spec| spec.hooks.as_ref())).map(|()| 0)
}

/// Removes a container's group and what is known of it, and runs the hooks that come behind.
pub fn remove(
    runtime: &Runtime,
    entry: &Entry,
    record: &Record,
    list: Option<&Hooks>,
) -> Result<(), OciError> {
    record.cgroup().destroy()?;
    entry.remove()?;
    for hook in list.map_or(&[][..], |list| &list.poststop) {
        let state = record.state(Status::Stopped);
        // One that fails is told, and the others run (`runtime.md`, "Lifecycle").
        if let Err(error) = hooks::run("poststop", std::slice::from_ref(hook), &state) {
            runtime.log.warn(&crate::console::chain(&error));
        }
    }
    Ok(())
}
