//! A cgroup (version 2) a machine, where the host has such a hierarchy and the daemon may make groups: root at
//! its top, another user in the group that the daemon is in, if that is delegated to it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::HostError;

/// Where a pure version 2 hierarchy is mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// Our own group in it.
const PARENT: &str = "bulkhead";
/// What a VMM needs besides the guest's memory, with room to spare, in MiB.
const VMM_MEMORY_MIB: u64 = 64;
/// What a passt needs (22 MiB and its sockets' buffers), with room to spare.
const PASST_MEMORY_MIB: u64 = 64;
/// Threads of a VMM besides, with room to spare.
const VMM_THREADS: u32 = 32;

/// Beneath which group ours are.
fn top() -> PathBuf {
    let root = Path::new(ROOT);
    if rustix::process::geteuid().is_root() {
        return root.to_owned();
    }
    // Version 2 is the line with an empty list of controllers (cgroups(7)).
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    own.map_or_else(|| root.to_owned(), |own| root.join(own))
}

fn parent() -> PathBuf {
    top().join(PARENT)
}

/// The host has a version 2 hierarchy.
pub fn is_there() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// Makes a machine's group; answers its `cgroup.procs`, or nothing on a host without version 2, and for a user
/// who may make none. `threads` are those of the VMM that the machine's shape brings.
pub fn make(id: &str, memory_mib: u32, threads: u32, passt: bool) -> Result<Option<PathBuf>, HostError> {
    if !is_there() {
        return Ok(None);
    }
    let group = parent().join(id);
    match fs::create_dir_all(&group) {
        Err(error)
            if error.kind() == io::ErrorKind::PermissionDenied && !rustix::process::geteuid().is_root() =>
        {
            return Ok(None);
        }
        made => made.map_err(HostError::file("make the cgroup", &group))?,
    }
    // Limits are a second wall behind the VMM's own; a host may have given the controllers to somebody else.
    for folder in [top(), parent()] {
        for controller in ["+memory", "+pids"] {
            let _ = fs::write(folder.join("cgroup.subtree_control"), controller);
        }
    }
    let passt = if passt { PASST_MEMORY_MIB } else { 0 };
    let memory = (u64::from(memory_mib) + VMM_MEMORY_MIB + passt) << 20;
    let _ = fs::write(group.join("memory.max"), memory.to_string());
    let _ = fs::write(group.join("pids.max"), (threads + VMM_THREADS).to_string());
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
