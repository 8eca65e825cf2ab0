//! KVM's own counters of a VM, in debugfs. They vanish with the VM.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

const FOLDER: &str = "/sys/kernel/debug/kvm";

/// What is read.
const NAMES: [&str; 7] =
    ["exits", "io_exits", "mmio_exits", "halt_exits", "irq_exits", "signal_exits", "pf_taken"];

/// The counters of the VM that the process has.
pub fn read(process: u32) -> Result<BTreeMap<String, u64>> {
    let folder = folder(process)?;
    let read = |name: &&str| {
        Some(((*name).to_owned(), fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok()?))
    };
    Ok(NAMES.iter().filter_map(read).collect())
}

fn folder(process: u32) -> Result<PathBuf> {
    let prefix = format!("{process}-");
    let entries = fs::read_dir(FOLDER).with_context(|| format!("Cannot list {FOLDER}"))?;
    let mut folders =
        entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
    let found = folders.next().map(|entry| entry.path());
    found.with_context(|| format!("KVM has no counters for the process {process}"))
}
