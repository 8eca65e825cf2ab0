//! `state` and `list`: what is known of containers.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bulkhead_protocol::oci::Status;
use serde::Serialize;

use super::arguments::{Flag, Words};
use super::bundle::OCI_VERSION;
use super::error::OciError;
use super::record::Record;
use super::store::Entry;
use super::{Runtime, output};

/// What `list` takes.
pub const FLAGS: &[Flag] = &[Flag::value("format").short('f'), Flag::switch("quiet").short('q')];

/// A container's state with what runc says beyond the specification.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    oci_version: &'static str,
    id: &'a str,
    pid: i32,
    status: Status,
    bundle: &'a str,
    rootfs: &'a str,
    created: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    owner: &'static str,
}

impl<'a> Told<'a> {
    fn new(record: &'a Record, entry: &Entry) -> Self {
        let status = record.status(entry);
        Self {
            oci_version: OCI_VERSION,
            id: &record.id,
            pid: record.state(status).pid,
            status,
            bundle: &record.bundle,
            rootfs: &record.rootfs,
            created: &record.created,
            annotations: &record.annotations,
            owner: "root",
        }
    }
}

/// Tells one container's state (`runtime.md`, "Query State").
pub fn state(runtime: &Runtime, words: &Words) -> Result<u8, OciError> {
    let (entry, record) = super::start::find(runtime, words.id()?)?;
    output::print_json(&Told::new(&record, &entry)).map(|()| 0)
}

/// Lists the containers.
pub fn verb(runtime: &Runtime, words: &Words) -> Result<u8, OciError> {
    if let [more, ..] = words.rest() {
        return Err(OciError::TooManyWords(more.clone()));
    }
    let mut known = Vec::new();
    for entry in runtime.store.all()? {
        match entry.record() {
            Ok(Some(record)) => known.push((entry, record)),
            // It is being made, or has just been removed.
            Ok(None) => {}
            Err(error) => runtime.log.warn(&crate::console::chain(&error)),
        }
    }
    let told: Vec<_> = known.iter().map(|(entry, record)| Told::new(record, entry)).collect();
    if words.has("quiet") {
        let ids = told.iter().fold(String::new(), |ids, told| ids + told.id + "\n");
        return output::print(&ids).map(|()| 0);
    }
    match words.value("format").unwrap_or("table") {
        "table" => output::print(&table(&told)).map(|()| 0),
        "json" => {
            let text = serde_json::to_string(&told).map_err(|error| OciError::Output(error.into()))?;
            output::print(&text).map(|()| 0)
        }
        value => {
            let (flag, reason) = ("format", "it is table or json");
            Err(OciError::Flag { flag, value: value.to_owned(), reason })
        }
    }
}

fn table(told: &[Told<'_>]) -> String {
    let width = told.iter().map(|told| told.id.len()).max().unwrap_or(0).max(10);
    let bundles = told.iter().map(|told| told.bundle.len()).max().unwrap_or(0).max(6);
    let mut text = format!(
        "{:width$}  {:10}  {:8}  {:bundles$}  {:30}  OWNER\n",
        "ID", "PID", "STATUS", "BUNDLE", "CREATED"
    );
    for one in told {
        let _ = writeln!(
            text,
            "{:width$}  {:<10}  {:8}  {:bundles$}  {:30}  {}",
            one.id,
            one.pid,
            one.status.word(),
            one.bundle,
            one.created,
            one.owner
        );
    }
    text
}
