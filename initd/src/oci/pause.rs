//! `pause` and `resume`: the freezer (`cgroup-v2.rst`, `cgroup.freeze`).

use bulkhead_protocol::oci::Status;

use super::Runtime;
use super::arguments::Words;
use super::error::OciError;
use super::start;

/// Holds all processes of a container.
pub fn verb(runtime: &Runtime, words: &Words) -> Result<u8, OciError> {
    let (entry, record) = start::find(runtime, words.id()?)?;
    match record.status(&entry) {
        Status::Created | Status::Running => record.cgroup().freeze(true).map(|()| 0).map_err(Into::into),
        status => Err(start::state_error(&record, status, "paused")),
    }
}

/// Lets them go on.
pub fn resume(runtime: &Runtime, words: &Words) -> Result<u8, OciError> {
    let (entry, record) = start::find(runtime, words.id()?)?;
    match record.status(&entry) {
        Status::Paused => record.cgroup().freeze(false).map(|()| 0).map_err(Into::into),
        status => Err(start::state_error(&record, status, "resumed")),
    }
}
