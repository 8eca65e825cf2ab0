//! The profile of a container that brings none: what ordinary programs use, nothing that reaches the kernel's
//! administration, other people's processes or the machine's host.

use std::collections::BTreeMap;

use super::filter::{ALLOW, Comparison, Condition, ERRNO, Filter, Rule};
use super::names;
use crate::isolation::capabilities::Sets;

/// Refused with EPERM unless the container's bounding set has the capability.
const NEEDS: [(&str, &str); 14] = [
    (
        "CAP_SYS_ADMIN",
        "bpf fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount \
         open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns umount2 unshare",
    ),
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    ("CAP_SYS_BOOT", "reboot kexec_load kexec_file_load"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module init_module finit_module"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev"),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    ("CAP_SYS_TIME", "settimeofday clock_settime clock_adjtime adjtimex"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
];

/// Refused with EPERM, always.
const NEVER: &str = "\
    _sysctl add_key afs_syscall create_module get_kernel_syms getpmsg io_uring_enter io_uring_register \
    io_uring_setup keyctl migrate_pages move_pages nfsservctl pivot_root putpmsg query_module request_key \
    security swapoff swapon sysfs tuxcall uselib userfaultfd ustat vserver";

/// The last call that was looked at; what came later gets ENOSYS.
const LAST: u32 = 450;

/// `CLONE_NEW*`: NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const NAMESPACE_FLAGS: [u64; 8] =
    [0x80, 0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];

/// The personalities that harm nobody: Linux, with or without 32-bit addresses or another uname, and a query.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The default profile for a container with these capabilities.
///
/// What is not named here gets ENOSYS, so that a C library falls back to what it did before the call existed.
pub fn default_profile(capabilities: &Sets) -> Filter {
    let refused = [Rule { conditions: Vec::new(), action: ERRNO | libc::EPERM.unsigned_abs() }];
    let allowed = [Rule { conditions: Vec::new(), action: ALLOW }];
    let denied = denied(capabilities);
    let mut rules: BTreeMap<u32, Vec<Rule>> = BTreeMap::new();
    let free = capabilities.may("CAP_SYS_ADMIN");
    for (name, number) in names::all().filter(|(_, number)| *number <= LAST) {
        let list = match name {
            _ if denied.contains(&name) => refused.to_vec(),
            "clone" if !free => namespaces_refused(),
            // Its flags are behind a pointer, where a filter cannot look.
            "clone3" if !free => continue,
            "personality" => PERSONALITIES.map(personality).to_vec(),
            _ => allowed.to_vec(),
        };
        rules.insert(number, list);
    }
    Filter { default_action: ERRNO | libc::ENOSYS.unsigned_abs(), rules }
}

fn denied(capabilities: &Sets) -> Vec<&'static str> {
    let granted: Vec<_> = NEEDS
        .iter()
        .filter(|(capability, _)| capabilities.may(capability))
        .flat_map(|(_, calls)| calls.split_ascii_whitespace())
        .collect();
    let guarded = NEEDS.iter().flat_map(|(_, calls)| calls.split_ascii_whitespace());
    guarded
        .filter(|name| !granted.contains(name))
        // Linux 4.8 made these safe under a filter; debuggers in a container need them.
        .filter(|name| !matches!(*name, "process_vm_readv" | "process_vm_writev"))
        // Reading the clock's state is everyone's; setting it is refused by the kernel.
        .filter(|name| !matches!(*name, "adjtimex" | "clock_adjtime"))
        .chain(NEVER.split_ascii_whitespace())
        .collect()
}

fn namespaces_refused() -> Vec<Rule> {
    let refuse = |flag| Rule {
        conditions: vec![Condition { argument: 0, comparison: Comparison::Masked(flag), value: flag }],
        action: ERRNO | libc::EPERM.unsigned_abs(),
    };
    // Clone's low byte is the signal at the end, not a flag: NEWTIME cannot be said there.
    let flags = NAMESPACE_FLAGS.iter().filter(|flag| **flag > 0xff);
    flags.map(|flag| refuse(*flag)).chain([Rule { conditions: Vec::new(), action: ALLOW }]).collect()
}

fn personality(value: u64) -> Rule {
    let condition = Condition { argument: 0, comparison: Comparison::Equal, value };
    Rule { conditions: vec![condition], action: ALLOW }
}
