//! What is on a host that machines could leave behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Processes, network links, sockets with names, cgroups, virtual machines and files at one moment.
#[derive(Debug)]
pub struct Left(BTreeSet<String>);

impl Left {
    /// Looks around; files are those beneath `folders`.
    pub fn take(folders: &[&Path]) -> Self {
        let mut seen = BTreeSet::new();
        for entry in names(Path::new("/proc")) {
            // Kernel threads have no command line.
            let line = fs::read(format!("/proc/{entry}/cmdline")).unwrap_or_default();
            let name = line.split(|byte| *byte == 0).next().unwrap_or_default();
            if entry.bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty() {
                seen.insert(format!("process {entry} {}", String::from_utf8_lossy(name)));
            }
        }
        for (kind, folder) in [("link", "/sys/class/net"), ("virtual machine", "/sys/kernel/debug/kvm")] {
            let is_machine = |name: &String| kind == "link" || name.contains('-');
            seen.extend(
                names(Path::new(folder)).into_iter().filter(is_machine).map(|name| format!("{kind} {name}")),
            );
        }
        // The eighth word, where there is one, is the socket's name (unix(7)).
        let sockets = fs::read_to_string("/proc/net/unix").unwrap_or_default();
        let sockets = sockets.lines().skip(1).filter_map(|line| line.split_whitespace().nth(7));
        seen.extend(sockets.map(|name| format!("socket {name}")));
        beneath(Path::new("/sys/fs/cgroup"), "cgroup", true, &mut seen);
        folders.iter().for_each(|folder| beneath(folder, "file", false, &mut seen));
        Self(seen)
    }

    /// What is there now and was not before.
    pub fn added_since(&self, before: &Self) -> Vec<String> {
        self.0.difference(&before.0).cloned().collect()
    }
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Folders, or everything, beneath a folder.
fn beneath(folder: &Path, kind: &str, folders_only: bool, seen: &mut BTreeSet<String>) {
    for name in names(folder) {
        let path = folder.join(name);
        let is_folder = path.symlink_metadata().is_ok_and(|data| data.is_dir());
        if is_folder || !folders_only {
            seen.insert(format!("{kind} {}", path.display()));
        }
        if is_folder {
            beneath(&path, kind, folders_only, seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let before = Left::take(&[folder.path()]);
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/b"), "").unwrap();
        let mut sleeper = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = format!("process {} sleep", sleeper.id());
        // Between fork and exec it has our name.
        while !Left::take(&[]).0.contains(&process) {
            std::thread::yield_now();
        }
        let added = Left::take(&[folder.path()]).added_since(&before);
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        let file = format!("file {}/a/b", folder.path().display());
        assert!(added.contains(&file) && added.contains(&process), "{added:?}");
    }
}
