//! Settles in the container's namespaces: names, parameters, clocks, loopback, the working folder.

use std::os::fd::AsFd as _;

use bulkhead_protocol::oci::{Linux, NamespaceKind};
use rustix::fs::Mode;
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use super::StageError;
use super::config::Config;
use crate::boot::netlink::{LOOPBACK, Netlink};
use crate::container::shape::{self, GIVEN_SYSCTL};
use crate::rootfs::RootfsError;
use crate::rootfs::beneath::{Beneath, Links};

/// Settles in everything that is not the file system. The host's /proc and /sys are still there.
pub fn settle(config: &Config) -> Result<(), StageError> {
    let spec = &config.spec;
    rustix::process::umask(Mode::empty());
    rustix::process::setsid().map_err(RootfsError::step("begin a session"))?;
    // A guest's process 1 is spared when memory is short; its containers are not.
    let score = spec.process.oom_score_adj.or(config.world.is_guest().then_some(0));
    if let Some(score) = score.filter(|_| !config.own_users) {
        std::fs::write("/proc/self/oom_score_adj", score.to_string())
            .map_err(RootfsError::step("set process.oomScoreAdj"))?;
    }
    if let Some(name) = &config.hostname {
        rustix::system::sethostname(name.as_bytes()).map_err(RootfsError::step("set the host name"))?;
    }
    if let Some(name) = &spec.domainname {
        rustix::system::setdomainname(name.as_bytes()).map_err(RootfsError::step("set the domain name"))?;
    }
    if config.own_network {
        Netlink::open()
            .and_then(|netlink| netlink.link_up(LOOPBACK))
            .map_err(RootfsError::step("bring the loopback up"))?;
    }
    for (name, value) in &spec.linux.sysctl {
        // Who has users of its own cannot set it, and has it already.
        if config.own_users && !config.own_network && name == GIVEN_SYSCTL && config.world.is_guest() {
            continue;
        }
        let path = format!("/proc/sys/{}", sysctl_path(name));
        std::fs::write(&path, value).map_err(RootfsError::path("set the kernel parameter", name))?;
    }
    Ok(())
}

/// Where /proc/sys has a parameter: its name has points or slashes, the first of which tells what the other is.
fn sysctl_path(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(at) if name.as_bytes().get(at) == Some(&b'/') => name.to_owned(),
        _ => name
            .chars()
            .map(|letter| match letter {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect(),
    }
}

/// Makes a cgroup namespace. Its root is the cgroup that this process was made in.
pub fn own_cgroups() -> Result<(), RootfsError> {
    unshare(UnshareFlags::NEWCGROUP).map_err(RootfsError::step("make a cgroup namespace"))
}

/// Makes a time namespace, sets its clocks and enters it.
pub fn own_clocks(linux: &Linux) -> Result<(), RootfsError> {
    let time = UnshareFlags::from_bits_retain(shape::flag(NamespaceKind::Time).unsigned_abs());
    unshare(time).map_err(RootfsError::step("make a time namespace"))?;
    let line = |(clock, offset): (&String, &bulkhead_protocol::oci::TimeOffset)| {
        format!("{clock} {} {}\n", offset.secs, offset.nanosecs)
    };
    let text: String = linux.time_offsets.iter().map(line).collect();
    if !text.is_empty() {
        std::fs::write("/proc/self/timens_offsets", text)
            .map_err(RootfsError::step("set linux.timeOffsets"))?;
    }
    // Before Linux 6.3 an exec does not enter it.
    let made = std::fs::File::open("/proc/self/ns/time_for_children");
    let made = made.map_err(RootfsError::step("open the time namespace"))?;
    rustix::thread::move_into_link_name_space(made.as_fd(), Some(LinkNameSpaceType::Time))
        .map_err(RootfsError::step("enter the time namespace"))
}

fn unshare(flags: UnshareFlags) -> Result<(), rustix::io::Errno> {
    // SAFETY: only CLONE_FILES can break what other code relies on, and it is not among the flags.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Makes the working folder where the image has none, as container engines do.
pub fn make_working_folder(root: &Beneath, path: &str) -> Result<(), RootfsError> {
    if path.is_empty() || path == "/" {
        return Ok(());
    }
    root.make_directory(path, Links::Follow)
        .map(drop)
        .map_err(RootfsError::path("make the working folder", path))
}

#[cfg(test)]
mod tests {
    use super::sysctl_path;

    #[test]
    fn both_ways_to_write_a_parameter_are_understood() {
        assert_eq!(sysctl_path("net.core.somaxconn"), "net/core/somaxconn");
        assert_eq!(sysctl_path("net/ipv4/conf/eth0.1/forwarding"), "net/ipv4/conf/eth0.1/forwarding");
        assert_eq!(sysctl_path("net.ipv4.conf.eth0/1.forwarding"), "net/ipv4/conf/eth0.1/forwarding");
    }
}
