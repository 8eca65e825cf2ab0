//! A group anywhere in the host's hierarchy, with what is above and below it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{CONTROLLERS, Cgroup, CgroupError, ROOT, counter};

/// `CGROUP2_SUPER_MAGIC`.
const CGROUP2: i64 = 0x6367_7270;

/// How long the kernel may take to hold a group, or to let go of one whose processes are dead.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(1);

impl Cgroup {
    /// The group of this path, which begins at the hierarchy's root; `..` leads nowhere.
    pub fn at(path: &str) -> Self {
        let plain = path.split('/').filter(|part| !part.is_empty() && !matches!(*part, "." | ".."));
        Self { path: Path::new(ROOT).join(plain.collect::<PathBuf>()) }
    }

    /// The group that a process is in.
    pub fn of(pid: i32) -> Result<Self, CgroupError> {
        let path = PathBuf::from(format!("/proc/{pid}"));
        let text = Self { path }.read("cgroup")?;
        Ok(Self::at(text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/")))
    }

    /// Makes the group and those above it, with every controller that there is.
    pub fn make(&self) -> Result<(), CgroupError> {
        let right = rustix::fs::statfs(ROOT).is_ok_and(|found| found.f_type == CGROUP2);
        if !right {
            return Err(CgroupError::Version);
        }
        let failed = |source| CgroupError::Make { path: self.path.clone(), source };
        match fs::create_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&self.path).map_err(failed)?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.check_unused()?,
            result => result.map_err(failed)?,
        }
        let here = self.read("cgroup.controllers")?;
        let all = Self { path: ROOT.into() }.read("cgroup.controllers")?;
        if all.split_whitespace().filter(|name| CONTROLLERS.contains(name)).all(|name| has(&here, name)) {
            return Ok(());
        }
        let above: Vec<_> = self.path.ancestors().skip(1).collect();
        for path in above.into_iter().rev().filter(|path| path.starts_with(ROOT)) {
            let group = Self { path: path.to_owned() };
            let there = group.read("cgroup.controllers")?;
            let wanted = there.split_whitespace().filter(|name| CONTROLLERS.contains(name));
            let wanted: Vec<_> = wanted.map(|name| format!("+{name}")).collect();
            if group.write("cgroup.subtree_control", &wanted.join(" ")).is_err() {
                // A group with processes of its own gives its children no controllers; what needs one says so.
                for name in wanted {
                    let _ = group.write("cgroup.subtree_control", &name);
                }
            }
        }
        Ok(())
    }

    /// A container's limits and its end are not for other processes, and what is frozen cannot begin.
    fn check_unused(&self) -> Result<(), CgroupError> {
        let taken = |state| Err(CgroupError::Taken { path: self.path.clone(), state });
        if !self.all_processes().is_empty() {
            return taken("has processes");
        }
        if self.read("cgroup.freeze").is_ok_and(|text| text.trim() == "1") {
            return taken("is frozen");
        }
        Ok(())
    }

    /// Where it is, from the hierarchy's root on.
    pub fn name(&self) -> &Path {
        self.path.strip_prefix(ROOT).unwrap_or(&self.path)
    }

    /// The path of one of its files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether it is there.
    pub fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// The ids of its processes and of those of the groups below.
    pub fn all_processes(&self) -> Vec<i32> {
        let below = self.children().into_iter().flat_map(|child| child.all_processes());
        self.processes().into_iter().chain(below).collect()
    }

    fn children(&self) -> Vec<Self> {
        let Ok(entries) = fs::read_dir(&self.path) else { return Vec::new() };
        let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.map(|entry| Self { path: entry.path() }).collect()
    }

    /// Holds or releases all processes, and returns when that is so.
    pub fn freeze(&self, frozen: bool) -> Result<(), CgroupError> {
        self.write("cgroup.freeze", if frozen { "1" } else { "0" })?;
        let deadline = Instant::now() + PATIENCE;
        while self.is_frozen()? != frozen {
            if Instant::now() >= deadline {
                let _ = self.write("cgroup.freeze", "0");
                return Err(CgroupError::Freeze(self.path.clone()));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Whether all its processes are held.
    pub fn is_frozen(&self) -> Result<bool, CgroupError> {
        Ok(counter(&self.read("cgroup.events")?, "frozen") == 1)
    }

    /// Ends every process in it, and removes it and the groups below.
    pub fn destroy(&self) -> Result<(), CgroupError> {
        match self.kill() {
            Err(CgroupError::Write { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(());
            }
            result => result?,
        }
        self.remove_tree(Instant::now() + PATIENCE)
    }

    fn remove_tree(&self, deadline: Instant) -> Result<(), CgroupError> {
        loop {
            match self.remove() {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => {}
            }
            let children = self.children();
            children.iter().try_for_each(|child| child.remove_tree(deadline))?;
            if children.is_empty() {
                std::thread::sleep(PAUSE);
            }
        }
    }
}

fn has(list: &str, name: &str) -> bool {
    list.split_whitespace().any(|word| word == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leads_out_of_the_hierarchy() {
        for (path, name) in [("/a/b", "a/b"), ("a", "a"), ("/../../etc", "etc"), ("//a/./b/", "a/b")] {
            assert_eq!(Cgroup::at(path).name(), Path::new(name));
        }
    }
}
