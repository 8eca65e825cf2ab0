//! A kernel's configuration (`boot/config-VERSION` of Debian's packages), held against what containers need.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use Need::{Required, Useful};

/// Whether guests work without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// Nothing starts, or what Docker's users take for granted does not work.
    Required,
    /// Some images or options need it.
    Useful,
}

/// How a kernel has an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    /// Not at all.
    Missing,
    /// As a module.
    Module,
    /// Built in.
    BuiltIn,
}

/// What guests and their containers need: a name for people, whether they can do without, and the options that all
/// have to be there.
const FEATURES: &[(&str, Need, &[&str])] = &[
    ("start from an ELF file", Required, &["PVH"]),
    ("initramfs", Required, &["BLK_DEV_INITRD", "DEVTMPFS"]),
    ("devices by ACPI", Required, &["ACPI", "VIRTIO_MMIO"]),
    ("console", Required, &["SERIAL_8250_CONSOLE"]),
    ("drives", Required, &["VIRTIO_BLK"]),
    ("network interfaces", Required, &["VIRTIO_NET"]),
    ("vsock", Required, &["VSOCKETS", "VIRTIO_VSOCKETS"]),
    ("entropy of the host", Required, &["HW_RANDOM_VIRTIO"]),
    ("balloon", Useful, &["VIRTIO_BALLOON"]),
    ("persistent memory", Useful, &["VIRTIO_PMEM"]),
    ("clock of the host", Useful, &["KVM_GUEST"]),
    ("root of an image", Required, &["EROFS_FS", "EROFS_FS_XATTR", "EROFS_FS_SECURITY"]),
    ("writable root", Required, &["OVERLAY_FS", "EXT4_FS"]),
    ("file systems in memory", Required, &["TMPFS", "TMPFS_XATTR"]),
    ("verified root", Useful, &["DM_VERITY"]),
    ("process namespaces", Required, &["PID_NS"]),
    ("network namespaces", Required, &["NET_NS"]),
    ("host name namespaces", Required, &["UTS_NS"]),
    ("IPC namespaces", Required, &["IPC_NS", "POSIX_MQUEUE"]),
    ("user namespaces", Required, &["USER_NS"]),
    ("time namespaces", Useful, &["TIME_NS"]),
    ("cgroups", Required, &["CGROUPS"]),
    ("limits of memory", Required, &["MEMCG"]),
    ("limits of processors", Required, &["FAIR_GROUP_SCHED", "CFS_BANDWIDTH", "CPUSETS"]),
    ("limits of processes", Required, &["CGROUP_PIDS"]),
    ("limits of drives", Useful, &["BLK_CGROUP", "BLK_DEV_THROTTLING"]),
    ("limits of huge pages", Useful, &["CGROUP_HUGETLB"]),
    ("rules for device nodes", Required, &["CGROUP_BPF", "BPF_SYSCALL"]),
    ("system call filters", Required, &["SECCOMP", "SECCOMP_FILTER"]),
    ("files that are only memory", Required, &["MEMFD_CREATE"]),
    ("Unix sockets", Required, &["UNIX"]),
    ("packet filters", Useful, &["NF_TABLES", "NF_NAT"]),
    ("networks in the guest", Useful, &["VETH", "BRIDGE"]),
    ("io_uring", Useful, &["IO_URING"]),
    ("FUSE", Useful, &["FUSE_FS"]),
    ("SquashFS", Useful, &["SQUASHFS"]),
];

/// What a kernel has of one feature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Feature {
    /// For people.
    pub name: &'static str,
    /// Whether guests work without it.
    pub need: Need,
    /// The kernel's options, without `CONFIG_`, and how each of them is there.
    pub options: Vec<(&'static str, Found)>,
}

impl Feature {
    /// Whether all options are there.
    pub fn is_there(&self) -> bool {
        self.options.iter().all(|(_, found)| *found > Found::Missing)
    }
}

/// All features, in the order of a start. Shown as a table with one in each line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Report(pub Vec<Feature>);

impl Report {
    /// Reads a configuration: lines `CONFIG_NAME=y` or `=m`; everything else is as good as absent.
    pub fn of(configuration: &str) -> Self {
        let told: HashMap<&str, Found> = configuration.lines().filter_map(option).collect();
        let found = |option: &&'static str| (*option, told.get(option).copied().unwrap_or(Found::Missing));
        let feature = |(name, need, options): &(&'static str, Need, &[&'static str])| Feature {
            name,
            need: *need,
            options: options.iter().map(found).collect(),
        };
        Self(FEATURES.iter().map(feature).collect())
    }

    /// What is required and not there, in words; none where nothing is missing.
    pub fn lacks(&self) -> Option<String> {
        let missing = self.0.iter().filter(|feature| feature.need == Required && !feature.is_there());
        let words = missing.map(|feature| {
            let options = feature.options.iter().filter(|(_, found)| *found == Found::Missing);
            let options: Vec<_> = options.map(|(name, _)| format!("CONFIG_{name}")).collect();
            format!("{} ({})", feature.name, options.join(", "))
        });
        let words: Vec<String> = words.collect();
        (!words.is_empty()).then(|| words.join(", "))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for feature in &self.0 {
            let state = match (feature.is_there(), feature.need) {
                (true, _) => "ok",
                (false, Required) => "MISSING",
                (false, Useful) => "absent",
            };
            let options = feature.options.iter().map(|(name, found)| match found {
                Found::BuiltIn => format!("{name}=y"),
                Found::Module => format!("{name}=m"),
                Found::Missing => format!("{name} is not set"),
            });
            let options: Vec<String> = options.collect();
            writeln!(out, "{state:<8} {:<27} {}", feature.name, options.join(", "))?;
        }
        Ok(())
    }
}

fn option(line: &str) -> Option<(&str, Found)> {
    let (name, value) = line.strip_prefix("CONFIG_")?.split_once('=')?;
    match value {
        "y" => Some((name, Found::BuiltIn)),
        "m" => Some((name, Found::Module)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration with everything but `left`.
    fn without(left: &[&str]) -> String {
        let options = FEATURES.iter().flat_map(|(_, _, options)| options.iter());
        let options = options.filter(|option| !left.contains(option));
        options.map(|option| format!("CONFIG_{option}=y\n")).collect()
    }

    #[test]
    fn what_is_required_and_missing_is_named() {
        assert_eq!(Report::of(&without(&[])).lacks(), None);
        assert_eq!(Report::of(&without(&["VETH"])).lacks(), None);
        let lacks = Report::of(&without(&["USER_NS", "SECCOMP_FILTER"])).lacks();
        let expected = "user namespaces (CONFIG_USER_NS), system call filters (CONFIG_SECCOMP_FILTER)";
        assert_eq!(lacks.as_deref(), Some(expected));
        let everything = Report::of("");
        assert!(everything.0.iter().all(|feature| !feature.is_there()));
    }

    #[test]
    fn the_table_has_a_line_for_each() {
        let text =
            without(&["VETH", "PID_NS"]) + "CONFIG_VETH=\n# CONFIG_PID_NS is not set\nCONFIG_FUSE_FS=m\n";
        let table = Report::of(&text).to_string();
        assert_eq!(table.lines().count(), FEATURES.len());
        for line in [
            "ok       FUSE                        FUSE_FS=m",
            "absent   networks in the guest       VETH is not set, BRIDGE=y",
            "MISSING  process namespaces          PID_NS is not set",
        ] {
            assert!(table.lines().any(|found| found == line), "{table}");
        }
    }
}
