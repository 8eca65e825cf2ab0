//! A cgroup (version 2) a machine, where the host has such a hierarchy.

use std::fs;
use std::path::{Path, PathBuf};

use super::HostError;

/// Where a pure version 2 hierarchy is mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// Our own group in it.
const PARENT: &str = "bulkhead";
/// What a VMM needs besides the guest's memory, with room to spare, in MiB.
const VMM_MEMORY_MIB: u64 = 64;
/// Threads of a VMM besides its processors, with room to spare.
const VMM_THREADS: u32 = 32;

fn parent() -> PathBuf {
    Path::new(ROOT).join(PARENT)
}

/// The host has a version 2 hierarchy.
pub fn is_there() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// Makes a machine's group; answers its `cgroup.procs`, or nothing on a host without version 2.
pub fn make(id: &str, memory_mib: u32, vcpus: u8) -> Result<Option<PathBuf>, HostError> {
    if !is_there() {
        return Ok(None);
    }
    let group = parent().join(id);
    fs::create_dir_all(&group).map_err(HostError::file("make the cgroup", &group))?;
    // Limits are a second wall behind the VMM's own; a host may have given the controllers to somebody else.
    for folder in [Path::new(ROOT), &parent()] {
        for controller in ["+memory", "+pids"] {
            let _ = fs::write(folder.join("cgroup.subtree_control"), controller);
        }
    }
    let memory = (u64::from(memory_mib) + VMM_MEMORY_MIB) << 20;
    let _ = fs::write(group.join("memory.max"), memory.to_string());
    let _ = fs::write(group.join("pids.max"), (u32::from(vcpus) + VMM_THREADS).to_string());
    Ok(Some(group.join("cgroup.procs")))
}

/// Removes a machine's group, killing what is in it; our own group with the last one.
pub fn remove(id: &str) {
    let group = parent().join(id);
    if !group.exists() {
        return;
    }
    let _ = fs::write(group.join("cgroup.kill"), "1");
    // A group is busy until its last process is collected; the next sweep tries again.
    for _ in 0..50 {
        if fs::remove_dir(&group).is_ok() || !group.exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    if super::layout::names_in(&parent()).iter().all(|name| !parent().join(name).is_dir()) {
        let _ = fs::remove_dir(parent());
    }
}

/// The machines that have a group.
pub fn machines() -> Vec<String> {
    let names = super::layout::names_in(&parent());
    names.into_iter().filter(|name| parent().join(name).is_dir()).collect()
}
