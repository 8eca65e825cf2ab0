//! The groups of a guest.
//!
//! ```text
//! /sys/fs/cgroup/initd            this process, with memory that nobody takes away
//! /sys/fs/cgroup/containers       all containers together: less than the machine's memory and processes
//! /sys/fs/cgroup/containers/ID    one container under its own limits
//! ```

use std::fs;

use super::{Cgroup, CgroupError, ROOT};

/// Memory that containers leave to the kernel and to initd: a sixteenth, and at least this many bytes.
const RESERVE: u64 = 12 << 20;

/// Makes the groups that stand while the guest lives, and moves this process into its own.
pub fn set_up_guest() -> Result<(), CgroupError> {
    let root = Cgroup { path: ROOT.into() };
    let own = root.child("initd")?;
    own.write("cgroup.procs", "0")?;
    root.enable_controllers();
    let containers = root.child("containers")?;
    containers.enable_controllers();
    // Protection is a favour of the kernel's configuration; the limits below are what must hold.
    let _ = own.write("memory.min", &(RESERVE / 2).to_string());
    let _ = own.write("cpu.weight", "10000");
    if let Some(memory) = total_memory() {
        containers.write("memory.max", &container_memory(memory).to_string())?;
    }
    if let Some(processes) = process_capacity() {
        containers.write("pids.max", &(processes / 4 * 3).max(16).to_string())?;
    }
    Ok(())
}

/// How much of the machine's `memory` all containers together may use, in bytes.
pub fn container_memory(memory: u64) -> u64 {
    let reserve = (memory / 16).max(RESERVE);
    memory.saturating_sub(reserve).max(memory / 4)
}

fn total_memory() -> Option<u64> {
    let info = rustix::system::sysinfo();
    info.totalram.checked_mul(u64::from(info.mem_unit))
}

fn process_capacity() -> Option<u64> {
    let read = |path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    Some(read("/proc/sys/kernel/threads-max")?.min(read("/proc/sys/kernel/pid_max")?))
}

#[cfg(test)]
mod tests {
    use super::container_memory;

    #[test]
    fn containers_leave_memory_to_the_guest() {
        assert_eq!(container_memory(1 << 30), (1 << 30) - (64 << 20));
        assert_eq!(container_memory(100 << 20), 88 << 20);
        assert!(container_memory(8 << 20) > 0);
    }
}
