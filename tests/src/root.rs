//! What a bare guest boots: the modules of our initramfs, busybox, and what a test puts beside them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::{asset, bare, run};

/// Packing takes a moment in an emulated lab.
const LIMIT: Duration = Duration::from_secs(60);

/// Inserts the modules of our initramfs.
const INSERT: &str =
    "for module in $(cat /bulkhead/modules.order); do insmod $module || echo NO $module; done";

/// An initramfs with our modules inserted and busybox, in which `script` is the first process. What lies in
/// `root` beneath `folder` goes with it.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn with_modules(folder: &Path, script: &str) -> PathBuf {
    let mut archive = fs::read(asset("initramfs")).expect("the initramfs");
    // The kernel reads one archive behind the other; the later file of a name is the one that stays.
    archive.extend(fs::read(bare::initramfs(folder, &format!("{INSERT}\n{script}"))).expect("an archive"));
    let whole = folder.join("with-modules");
    fs::write(&whole, archive).expect("an initramfs");
    whole
}

/// An initramfs with busybox and the lab's own `modules` (its kernel is the guests'), inserted with what they
/// need; `script` is the first process, and switches the guest off at its end.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn with_lab_modules(folder: &Path, modules: &[&str], script: &str) -> PathBuf {
    let place = folder.join("root/modules");
    fs::create_dir_all(&place).expect("a folder");
    let mut inserts = String::new();
    for module in modules {
        let mut modprobe = Command::new("modprobe");
        let shown = run(modprobe.args(["--show-depends", "--ignore-install", module]), LIMIT).ok();
        for file in shown.stdout.lines().filter_map(|line| line.strip_prefix("insmod ")) {
            let file = Path::new(file.trim());
            let name = file.file_name().expect("a name");
            if !place.join(name).exists() {
                fs::copy(file, place.join(name)).expect("a module");
                inserts.push_str(&format!("insmod /modules/{}\n", name.to_string_lossy()));
            }
        }
    }
    bare::initramfs(folder, &format!("mkdir -p /mnt\n{inserts}{script}\npoweroff -f"))
}

/// How much memory of a process the host holds, in KiB.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
