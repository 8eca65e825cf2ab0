//! What a specification means for the container's surroundings: its namespaces and kernel parameters.

use bulkhead_protocol::oci::{NamespaceKind, Spec};

/// Kernel parameters that belong to the IPC namespace, which every container has of its own.
const IPC: [&str; 10] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
    "kernel.msg_next_id",
    "kernel.domainname",
];

/// The guest sets this to 0 for all its containers: who has users of its own, and may not set it, has it already.
pub const GIVEN_SYSCTL: &str = "net.ipv4.ip_unprivileged_port_start";

/// Whether the container has a network of its own, and not the guest's.
pub fn own_network(spec: &Spec) -> bool {
    spec.linux.namespaces.iter().any(|namespace| namespace.kind == NamespaceKind::Network)
}

/// Whether the container has users of its own: its root is not the guest's.
pub fn own_users(spec: &Spec) -> bool {
    spec.linux.namespaces.iter().any(|namespace| namespace.kind == NamespaceKind::User)
}

/// Whether a specification asks for a new namespace of this kind.
pub fn is_new(spec: &Spec, kind: NamespaceKind) -> bool {
    spec.linux.namespaces.iter().any(|namespace| namespace.kind == kind && namespace.path.is_none())
}

/// The flags of `clone3` for the first process of a guest's container.
///
/// Processes, mounts, host name and IPC are always its own. The cgroup namespace is made later, by the process
/// itself: made here, its root would be the cgroup of the one who calls.
pub fn clone_flags(spec: &Spec) -> u64 {
    let own = libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;
    u64::from(own.unsigned_abs()) | new_namespaces(spec)
}

/// The flags of `clone3` for the namespaces that a specification asks for, but those that the process makes
/// itself: cgroups, and clocks, which are set before anybody has them.
pub fn new_namespaces(spec: &Spec) -> u64 {
    let flags = spec.linux.namespaces.iter().filter(|namespace| namespace.path.is_none());
    flags.fold(0, |flags, namespace| {
        flags
            | u64::from(match namespace.kind {
                NamespaceKind::Cgroup | NamespaceKind::Time => 0,
                kind => flag(kind).unsigned_abs(),
            })
    })
}

/// The flag of `clone` and `setns` for a kind of namespace.
pub fn flag(kind: NamespaceKind) -> i32 {
    match kind {
        NamespaceKind::Pid => libc::CLONE_NEWPID,
        NamespaceKind::Network => libc::CLONE_NEWNET,
        NamespaceKind::Mount => libc::CLONE_NEWNS,
        NamespaceKind::Ipc => libc::CLONE_NEWIPC,
        NamespaceKind::Uts => libc::CLONE_NEWUTS,
        NamespaceKind::User => libc::CLONE_NEWUSER,
        NamespaceKind::Cgroup => libc::CLONE_NEWCGROUP,
        // CLONE_NEWTIME, which this version of the libc crate lacks here.
        NamespaceKind::Time => 0x80,
    }
}

/// What is wrong with a kernel parameter that a container wants to set. The network's is its own, or the machine's,
/// which is there for its containers. `own_users` forbids those that Linux 6.1 leaves to the guest's root.
pub fn check_sysctl(name: &str, own_network: bool, own_users: bool) -> Result<(), &'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if !name.bytes().all(plain) || name.contains("..") || name.starts_with('.') {
        return Err("it is no kernel parameter's name");
    }
    match name {
        _ if IPC.contains(&name) || name.starts_with("fs.mqueue.") => match own_users {
            true => Err("in a user namespace the kernel lets nobody set it"),
            false => Ok(()),
        },
        GIVEN_SYSCTL => Ok(()),
        _ if name.starts_with("net.") && own_users && !own_network => {
            Err("the container has the guest's network, and users of its own")
        }
        _ if name.starts_with("net.") => Ok(()),
        _ => Err("it is the guest's and not the container's"),
    }
}

/// The same for a bundle's container, which has the namespaces that `has` says.
pub fn check_bundle_sysctl(name: &str, has: impl Fn(NamespaceKind) -> bool) -> Result<(), &'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/' | b'_' | b'-' | b':');
    let separated = name.replace('/', ".");
    if !name.bytes().all(plain) || separated.contains("..") || separated.starts_with('.') {
        return Err("it is no kernel parameter's name");
    }
    match separated.as_str() {
        "kernel.domainname" | "kernel.hostname" if has(NamespaceKind::Uts) => Ok(()),
        "kernel.domainname" | "kernel.hostname" => Err("linux.namespaces names no uts namespace"),
        name if IPC.contains(&name) || name.starts_with("fs.mqueue.") => match has(NamespaceKind::Ipc) {
            true => Ok(()),
            false => Err("linux.namespaces names no ipc namespace"),
        },
        name if name.starts_with("net.") => match has(NamespaceKind::Network) {
            true => Ok(()),
            false => Err("linux.namespaces names no network namespace"),
        },
        _ => Err("it is the host's and not the container's"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_own_parameters_are_set() {
        assert!(check_sysctl("kernel.shmmax", false, false).is_ok());
        assert!(check_sysctl("fs.mqueue.msg_max", false, false).is_ok());
        assert!(check_sysctl("net.core.somaxconn", true, false).is_ok());
        assert!(check_sysctl("net.core.somaxconn", false, false).is_ok());
        assert!(check_sysctl("net.core.somaxconn", false, true).is_err());
        assert!(check_sysctl("kernel.shmmax", true, true).is_err());
        assert!(check_sysctl("net.core.somaxconn", true, true).is_ok());
        assert!(check_sysctl("kernel.panic", true, false).is_err());
        assert!(check_sysctl("fs.mqueue.../x", true, false).is_err());
    }
}
