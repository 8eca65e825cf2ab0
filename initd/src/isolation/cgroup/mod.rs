//! Control groups, version 2.

mod guest;
mod settings;
mod tree;

use std::fs;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bulkhead_protocol::oci::Resources;
use rustix::fs::{Mode, OFlags};

use crate::bounded;

pub use guest::{container_memory, set_up_guest};
pub use settings::{Swap, settings};

const ROOT: &str = "/sys/fs/cgroup";

/// The largest file of a group that is read, in bytes.
const MAX_FILE: usize = 1 << 20;

/// The controllers that containers are limited by.
const CONTROLLERS: [&str; 7] = ["cpu", "cpuset", "io", "memory", "pids", "hugetlb", "rdma"];

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
        file: String,
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
    /// The hierarchy is not what it must be.
    #[error("Cannot limit containers: {ROOT} is not cgroup version 2, which this runtime needs alone")]
    Version,
    /// The group is somebody else's.
    #[error("Cannot use the cgroup {path} of linux.cgroupsPath: it {state}")]
    Taken {
        /// The group.
        path: PathBuf,
        /// What it is.
        state: &'static str,
    },
    /// A group's file could not be read.
    #[error("Cannot read {file} of the cgroup {path}")]
    Read {
        /// The group.
        path: PathBuf,
        /// Its file.
        file: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A group would not stand still.
    #[error("Cannot freeze the cgroup {0} in time")]
    Freeze(PathBuf),
    /// A limit is below what is in use.
    #[error("linux.resources.memory.limit cannot be {limit}: {used} bytes are in use")]
    Below {
        /// The limit.
        limit: i64,
        /// What is in use.
        used: i64,
    },
    /// A limit that no container can have.
    #[error("linux.resources.{name} cannot be {value}: {expected}")]
    Limit {
        /// The limit.
        name: &'static str,
        /// What was asked.
        value: String,
        /// What may be asked.
        expected: &'static str,
    },
}

/// One control group. Dropping it leaves it; [`Cgroup::remove`] ends it.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes the group of a guest's container and sets its limits.
    pub fn create(name: &str, resources: &Resources) -> Result<Self, CgroupError> {
        // Looked at before anything is made.
        settings(resources, Swap::Refused)?;
        let group = Self { path: Path::new(ROOT).join("containers") }.child(name)?;
        let limited = group.limit(resources, Swap::Refused);
        if limited.is_err() {
            let _ = group.remove();
        }
        limited.map(|()| group)
    }

    /// Sets limits.
    pub fn limit(&self, resources: &Resources, swap: Swap) -> Result<(), CgroupError> {
        let memory = resources.memory.as_ref();
        if let Some(limit) =
            memory.and_then(|memory| memory.limit.filter(|_| memory.check_before_update == Some(true)))
        {
            let used = self.read("memory.current")?.trim().parse().unwrap_or(0);
            if (0..used).contains(&limit) {
                return Err(CgroupError::Below { limit, used });
            }
        }
        for setting in settings(resources, swap)? {
            match (self.write(&setting.file, &setting.value), setting.otherwise) {
                // What a kernel without the first file has in its place.
                (Err(CgroupError::Write { source, .. }), Some((file, value)))
                    if source.kind() == io::ErrorKind::NotFound =>
                {
                    if !file.is_empty() {
                        self.write(file, &value)?;
                    }
                }
                (result, _) => result?,
            }
        }
        Ok(())
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

    fn enable_controllers(&self) {
        let all: Vec<_> = CONTROLLERS.iter().map(|name| format!("+{name}")).collect();
        if self.write("cgroup.subtree_control", &all.join(" ")).is_ok() {
            return;
        }
        for controller in all {
            // A kernel without a controller still runs containers; a limit that needs it is refused then.
            let _ = self.write("cgroup.subtree_control", &controller);
        }
    }

    fn write(&self, file: &str, value: &str) -> Result<(), CgroupError> {
        // Not to be made where it is not there: in this file system that is another error.
        let open = |path| fs::OpenOptions::new().write(true).open(path);
        let written = open(self.path.join(file)).and_then(|mut file| file.write_all(value.as_bytes()));
        written.map_err(|source| CgroupError::Write {
            path: self.path.clone(),
            file: file.to_owned(),
            value: value.to_owned(),
            source,
        })
    }

    /// A file of the group.
    pub fn read(&self, file: &'static str) -> Result<String, CgroupError> {
        bounded::read_text(self.path.join(file), MAX_FILE).map_err(|source| CgroupError::Read {
            path: self.path.clone(),
            file,
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
pub fn counter(text: &str, name: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::counter;

    #[test]
    fn counters_are_found_by_their_whole_name() {
        let text = "low 0\noom 3\noom_kill 2\noom_group_kill 7\n";
        assert_eq!(counter(text, "oom_kill"), 2);
        assert_eq!(counter(text, "kill"), 0);
    }
}
