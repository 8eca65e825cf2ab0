//! Will guests boot here, and if not, why not.
//!
//! Also for others: `examine` needs neither a daemon nor root, and answers plain data.

mod probe;

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::host::layout::guest_file;
use crate::host::process::find_program;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Report {
    /// Guests will boot here.
    pub guests_boot: bool,
    /// Everything that was looked at.
    pub checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// What: `kvm`, `tun`, `nft`, …
    pub name: String,
    /// How it is.
    pub verdict: Verdict,
    /// A sentence.
    pub message: String,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Worth knowing; guests boot without it.
    Note,
    /// No guest will boot.
    Bad,
}

fn check(name: &str, verdict: Verdict, message: impl Into<String>) -> Check {
    Check { name: name.to_owned(), verdict, message: message.into() }
}

/// Looks at the host. `assets` is the folder of the VMM, the guest kernel and the initramfs.
pub fn examine(assets: &Path) -> Report {
    let mut checks = vec![kvm(Path::new("/dev/kvm"))];
    checks.extend(networks(rustix::process::geteuid().is_root()));
    checks.push(program("mke2fs", "volumes need it (Debian's package e2fsprogs)"));
    checks.push(asset("bulkhead-vmm", &assets.join("bulkhead-vmm")));
    for name in ["vmlinux", "initramfs"] {
        checks.push(asset(name, &guest_file(assets, name)));
    }
    checks.push(vsock(Path::new("/dev/vhost-vsock")));
    checks.push(cgroup());
    checks.push(user());
    let guests_boot = checks.iter().all(|check| check.verdict != Verdict::Bad);
    Report { guests_boot, checks }
}

/// A device node that must be opened, or why it cannot be.
fn open(path: &Path, name: &str, missing: &str) -> Result<(), Check> {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(_) => Ok(()),
        Err(error) => {
            let path = path.display();
            let message = match error.kind() {
                ErrorKind::NotFound => format!("{path} is missing: {missing}"),
                ErrorKind::PermissionDenied => format!("{path} may not be opened by this user"),
                _ => format!("{path} cannot be opened: {error}"),
            };
            Err(check(name, Verdict::Bad, message))
        }
    }
}

fn kvm(path: &Path) -> Check {
    let missing = "the kernel has no KVM, or the processor's virtualization is switched off in the firmware";
    if let Err(bad) = open(path, "kvm", missing) {
        return bad;
    }
    match probe::run(path) {
        Ok(()) => check("kvm", Verdict::Good, format!("{} runs guests in hardware", path.display())),
        Err(error) => {
            let cause = crate::service::chain(&error);
            let message =
                format!("{} is there, but a guest kernel will not boot on it: {cause}", path.display());
            check("kvm", Verdict::Bad, message)
        }
    }
}

fn tun(path: &Path) -> Check {
    match open(path, "tun", "the kernel has no tun module, or it is not loaded") {
        Ok(()) => check("tun", Verdict::Good, format!("{} makes taps", path.display())),
        Err(bad) => bad,
    }
}

/// What the bridge needs, and what passt does. Who is not root needs the other.
fn networks(root: bool) -> [Check; 3] {
    let bridge = [
        tun(Path::new("/dev/net/tun")),
        program("nft", "the machines' bridge needs it (Debian's package nftables)"),
    ];
    let passt = program("passt", "machines without root need it (Debian's package passt)");
    let wanted = |check: Check, needed: bool| match check.verdict {
        Verdict::Bad if !needed => Check { verdict: Verdict::Note, ..check },
        _ => check,
    };
    let [tun, nft] = bridge.map(|check| wanted(check, root));
    [tun, nft, wanted(passt, !root)]
}

fn program(name: &str, why: &str) -> Check {
    match find_program(name) {
        Some(path) => check(name, Verdict::Good, format!("{name} is {}", path.display())),
        None => check(name, Verdict::Bad, format!("{name} is missing: {why}")),
    }
}

fn asset(name: &str, path: &Path) -> Check {
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() && found.len() > 0 => {
            check(name, Verdict::Good, format!("{name} is {}", path.display()))
        }
        Ok(_) => check(name, Verdict::Bad, format!("{} is no file with content", path.display())),
        Err(error) => check(name, Verdict::Bad, format!("{} cannot be read: {error}", path.display())),
    }
}

fn vsock(path: &Path) -> Check {
    let message = if path.exists() {
        format!("{} is there; it is not needed, since vsock is served by the VMM", path.display())
    } else {
        format!("{} is missing; it is not needed, since vsock is served by the VMM", path.display())
    };
    check("vhost-vsock", Verdict::Note, message)
}

fn cgroup() -> Check {
    if crate::host::cgroup::is_there() {
        check("cgroup", Verdict::Good, "the host has cgroup version 2; each machine gets a group")
    } else {
        check(
            "cgroup",
            Verdict::Note,
            "the host has no cgroup version 2 at /sys/fs/cgroup; machines run without a group",
        )
    }
}

fn user() -> Check {
    if rustix::process::geteuid().is_root() {
        check("user", Verdict::Good, "this is root, who may make the machines' bridge")
    } else {
        check("user", Verdict::Note, "this is not root; machines run with --net passt alone")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let nothing = folder.path().join("nothing");
        assert!(kvm(&nothing).message.contains("is missing"));
        assert_eq!(tun(&nothing).verdict, Verdict::Bad);
        assert_eq!(program("no-such-program", "x").verdict, Verdict::Bad);
        assert_eq!(program("sh", "x").verdict, Verdict::Good);
        assert_eq!(asset("vmlinux", &nothing).verdict, Verdict::Bad);
        let file = folder.path().join("file");
        std::fs::write(&file, "x").unwrap();
        // Opens, but is no KVM.
        assert_eq!(kvm(&file).verdict, Verdict::Bad);
        assert!(!examine(folder.path()).guests_boot);
        for root in [false, true] {
            let [tun, nft, passt] = networks(root);
            assert!(if root { passt.verdict } else { tun.verdict } != Verdict::Bad, "{tun:?} {passt:?}");
            assert!(root || nft.verdict != Verdict::Bad, "{nft:?}");
        }
    }
}
