//! What exists on a host that a machine could leave behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Processes, links, mounts, cgroups and firewall rules at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footprint(BTreeSet<String>);

impl Footprint {
    /// Looks around.
    #[must_use]
    pub fn take() -> Self {
        let mut seen = BTreeSet::new();
        seen.extend(processes());
        seen.extend(lines("link", "ip", &["-o", "-br", "link"]));
        seen.extend(lines("rule", "nft", &["list", "ruleset"]));
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        seen.extend(mounts.lines().map(|line| format!("mount {line}")));
        cgroups(Path::new("/sys/fs/cgroup"), &mut seen);
        Self(seen)
    }

    /// What is there now and was not before.
    #[must_use]
    pub fn added_since(&self, before: &Self) -> Vec<String> {
        self.0.difference(&before.0).cloned().collect()
    }
}

/// Every process but kernel threads, by name and number; the test's own children that are being waited for
/// are gone by the time a test asks.
fn processes() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let name = command.split('\0').next().filter(|name| !name.is_empty())?;
        Some(format!("process {pid} {name}"))
    })
    .collect()
}

fn lines(kind: &str, program: &str, arguments: &[&str]) -> Vec<String> {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().map(|line| format!("{kind} {}", line.trim())).collect()
}

fn cgroups(folder: &Path, seen: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        seen.insert(format!("cgroup {}", path.display()));
        cgroups(&path, seen);
    }
}
