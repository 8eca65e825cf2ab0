//! Control groups, version 2.
//!
//! ```text
//! /sys/fs/cgroup/initd            this process, with memory that nobody takes away
//! /sys/fs/cgroup/containers       all containers together: less than the machine's memory and processes
//! /sys/fs/cgroup/containers/ID    one container under its own limits
//! ```

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bulkhead_protocol::oci::{CpuLimit, MemoryLimit, Resources};
use rustix::fs::{Mode, OFlags};

const ROOT: &str = "/sys/fs/cgroup";

/// The controllers that containers are limited by.
const CONTROLLERS: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

/// Memory that containers leave to the kernel and to initd: a sixteenth, and at least this many bytes.
const RESERVE: u64 = 12 << 20;

/// What goes wrong with control groups.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// A group could not be made.
    #[error("Cannot make the cgroup {path}")]
    Make {
        /// The group.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A group's directory could not be opened.
    #[error("Cannot open the cgroup {path}")]
    Open {
        /// The group.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A value was refused.
    #[error("Cannot write {value} to {file} of the cgroup {path}")]
    Write {
        /// The group.
        path: PathBuf,
        /// Its file.
        file: &'static str,
        /// What was written.
        value: String,
        /// Why.
        source: io::Error,
    },
    /// A group could not be removed.
    #[error("Cannot remove the cgroup {path}")]
    Remove {
        /// The group.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A limit that no container can have.
    #[error("The limit {name} cannot be {value}; {expected}")]
    Limit {
        /// The limit.
        name: &'static str,
        /// What was asked.
        value: String,
        /// What may be asked.
        expected: &'static str,
    },
}

/// Makes the groups that stand while the guest lives, and moves this process into its own.
pub fn set_up_guest() -> Result<(), CgroupError> {
    let root = Cgroup { path: ROOT.into() };
    let own = root.child("initd")?;
    own.write("cgroup.procs", "0")?;
    root.enable_controllers()?;
    let containers = root.child("containers")?;
    containers.enable_controllers()?;
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

/// One control group. Dropping it leaves it; [`Cgroup::remove`] ends it.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes the group of a container and sets its limits.
    pub fn create(name: &str, resources: &Resources) -> Result<Self, CgroupError> {
        let settings = settings(resources)?;
        let group = Self { path: Path::new(ROOT).join("containers") }.child(name)?;
        for (file, value) in settings {
            if let Err(error) = group.write(file, &value) {
                let _ = group.remove();
                return Err(error);
            }
        }
        Ok(group)
    }

    fn child(&self, name: &str) -> Result<Self, CgroupError> {
        let path = self.path.join(name);
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(CgroupError::Make { path, source: error })
            }
            _ => Ok(Self { path }),
        }
    }

    fn enable_controllers(&self) -> Result<(), CgroupError> {
        for controller in CONTROLLERS {
            // A kernel without a controller still runs containers; a limit that needs it is refused then.
            let _ = self.write("cgroup.subtree_control", &format!("+{controller}"));
        }
        Ok(())
    }

    fn write(&self, file: &'static str, value: &str) -> Result<(), CgroupError> {
        fs::write(self.path.join(file), value).map_err(|source| CgroupError::Write {
            path: self.path.clone(),
            file,
            value: value.to_owned(),
            source,
        })
    }

    /// The group's directory, for `clone3` with `CLONE_INTO_CGROUP`.
    pub fn open(&self) -> Result<OwnedFd, CgroupError> {
        rustix::fs::open(&self.path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| CgroupError::Open { path: self.path.clone(), source: error.into() })
    }

    /// Ends every process in the group and below.
    pub fn kill(&self) -> Result<(), CgroupError> {
        self.write("cgroup.kill", "1")
    }

    /// Whether the kernel has ended a process of the group because its memory limit was reached.
    pub fn oom_killed(&self) -> bool {
        fs::read_to_string(self.path.join("memory.events")).is_ok_and(|text| counter(&text, "oom_kill") > 0)
    }

    /// The ids of the group's processes.
    pub fn processes(&self) -> Vec<i32> {
        let text = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Removes the group, which must hold no process.
    pub fn remove(&self) -> Result<(), CgroupError> {
        match fs::remove_dir(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(CgroupError::Remove { path: self.path.clone(), source: error })
            }
            _ => Ok(()),
        }
    }
}

/// One number of a file of lines `NAME NUMBER`.
fn counter(text: &str, name: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

/// What to write into which file of the group.
fn settings(resources: &Resources) -> Result<Vec<(&'static str, String)>, CgroupError> {
    let mut settings = Vec::new();
    if let Some(memory) = &resources.memory {
        memory_settings(memory, &mut settings)?;
    }
    if let Some(cpu) = &resources.cpu {
        cpu_settings(cpu, &mut settings)?;
    }
    if let Some(pids) = resources.pids {
        let value = if pids.limit > 0 { pids.limit.to_string() } else { "max".into() };
        settings.push(("pids.max", value));
    }
    Ok(settings)
}

fn memory_settings(
    memory: &MemoryLimit,
    settings: &mut Vec<(&'static str, String)>,
) -> Result<(), CgroupError> {
    if let Some(limit) = memory.limit.filter(|limit| *limit != 0) {
        settings.push(("memory.max", bytes("memory.limit", limit)?));
    }
    if let Some(low) = memory.reservation.filter(|low| *low > 0) {
        settings.push(("memory.low", bytes("memory.reservation", low)?));
    }
    // Version 1 counts memory and swap together; a guest has no swap unless its container makes some.
    if memory.limit.is_some_and(|limit| limit > 0) {
        let swap = match (memory.swap, memory.limit) {
            (Some(-1), _) => "max".to_owned(),
            (Some(swap), Some(limit)) if swap >= limit => (swap - limit).to_string(),
            (None | Some(0), _) => "0".to_owned(),
            (Some(swap), _) => {
                let expected = "it counts memory and swap together and is not below the memory limit";
                return Err(CgroupError::Limit { name: "memory.swap", value: swap.to_string(), expected });
            }
        };
        settings.push(("memory.swap.max", swap));
    }
    Ok(())
}

fn bytes(name: &'static str, value: i64) -> Result<String, CgroupError> {
    match value {
        -1 => Ok("max".to_owned()),
        0.. => Ok(value.to_string()),
        _ => Err(CgroupError::Limit { name, value: value.to_string(), expected: "it is in bytes, or -1" }),
    }
}

fn cpu_settings(cpu: &CpuLimit, settings: &mut Vec<(&'static str, String)>) -> Result<(), CgroupError> {
    let refuse = |name, value: String, expected| Err(CgroupError::Limit { name, value, expected });
    if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
        settings.push(("cpu.weight", weight(shares).to_string()));
    }
    let period = cpu.period.filter(|period| *period != 0).unwrap_or(100_000);
    if !(1000..=1_000_000).contains(&period) {
        return refuse("cpu.period", period.to_string(), "it is 1000 to 1000000 microseconds");
    }
    match cpu.quota {
        None | Some(0) => {}
        Some(quota @ ..0) => {
            if quota != -1 {
                return refuse("cpu.quota", quota.to_string(), "it is in microseconds, or -1");
            }
            settings.push(("cpu.max", format!("max {period}")));
        }
        Some(quota) if quota < 1000 => {
            return refuse("cpu.quota", quota.to_string(), "it is at least 1000 microseconds");
        }
        Some(quota) => settings.push(("cpu.max", format!("{quota} {period}"))),
    }
    if let Some(cpus) = cpu.cpus.as_deref().filter(|cpus| !cpus.is_empty()) {
        if !cpus.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b',' | b'-')) {
            return refuse("cpu.cpus", cpus.to_owned(), "it is a list such as 0-1,3");
        }
        settings.push(("cpuset.cpus", cpus.to_owned()));
    }
    Ok(())
}

/// `cpu.weight` (1 to 10000) for version 1's shares (2 to 262144), on the line that the OCI runtime
/// specification's implementations share.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
