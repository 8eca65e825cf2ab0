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

/// The guest sets this to 0 for all its containers, so that asking for it changes nothing.
pub const GIVEN_SYSCTL: &str = "net.ipv4.ip_unprivileged_port_start";

/// Whether the container has a network of its own, and not the guest's.
pub fn own_network(spec: &Spec) -> bool {
    spec.linux.namespaces.iter().any(|namespace| namespace.kind == NamespaceKind::Network)
}

/// Whether the container has users of its own: its root is not the guest's.
pub fn own_users(spec: &Spec) -> bool {
    spec.linux.namespaces.iter().any(|namespace| namespace.kind == NamespaceKind::User)
}

/// The flags of `clone3` for the container's first process.
///
/// Processes, mounts, host name and IPC are always its own. The cgroup namespace is made later, by the process
/// itself: made here, its root would be the cgroup of the one who calls.
pub fn clone_flags(spec: &Spec) -> u64 {
    let mut flags = libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;
    if own_network(spec) {
        flags |= libc::CLONE_NEWNET;
    }
    if own_users(spec) {
        flags |= libc::CLONE_NEWUSER;
    }
    flags.unsigned_abs().into()
}

/// What is wrong with a kernel parameter that a container wants to set. `own_network` allows the network's,
/// `own_users` forbids those that Linux 6.1 leaves to the guest's root in every namespace.
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
        _ if name.starts_with("net.") && own_network => Ok(()),
        _ if name.starts_with("net.") => Err("the container has the guest's network"),
        _ => Err("it is the guest's and not the container's"),
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
        assert!(check_sysctl("net.core.somaxconn", false, false).is_err());
        assert!(check_sysctl("kernel.shmmax", true, true).is_err());
        assert!(check_sysctl("net.core.somaxconn", true, true).is_ok());
        assert!(check_sysctl("kernel.panic", true, false).is_err());
        assert!(check_sysctl("fs.mqueue.../x", true, false).is_err());
    }
}
