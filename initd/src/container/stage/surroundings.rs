//! Settles in the container's namespaces: names, parameters, loopback, the working folder.

use rustix::fs::Mode;
use rustix::thread::UnshareFlags;

use super::{Config, StageError};
use crate::boot::netlink::{LOOPBACK, Netlink};
use crate::container::shape::GIVEN_SYSCTL;
use crate::rootfs::RootfsError;
use crate::rootfs::beneath::{Beneath, Links};

/// Settles in everything that is not the file system. The guest's /proc and /sys are still there.
pub fn settle(config: &Config) -> Result<(), StageError> {
    rustix::process::umask(Mode::empty());
    rustix::process::setsid().map_err(RootfsError::step("begin a session"))?;
    // Process 1 is spared when memory is short; its containers are not.
    if !config.own_users {
        let adjustment = config.spec.process.oom_score_adj.unwrap_or(0).to_string();
        std::fs::write("/proc/self/oom_score_adj", adjustment)
            .map_err(RootfsError::step("set the score for a shortage of memory"))?;
    }
    unshare_cgroup().map_err(RootfsError::step("make a cgroup namespace"))?;
    rustix::system::sethostname(config.hostname.as_bytes())
        .map_err(RootfsError::step("set the host name"))?;
    if config.own_network {
        Netlink::open()
            .and_then(|netlink| netlink.link_up(LOOPBACK))
            .map_err(RootfsError::step("bring the loopback up"))?;
    }
    for (name, value) in &config.spec.linux.sysctl {
        if !config.own_network && name == GIVEN_SYSCTL {
            continue;
        }
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        std::fs::write(&path, value).map_err(RootfsError::path("set the kernel parameter", name))?;
    }
    Ok(())
}

/// Its root is the cgroup that this process was made in.
fn unshare_cgroup() -> Result<(), rustix::io::Errno> {
    // SAFETY: only CLONE_FILES can break what other code relies on, and it is not among the flags.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWCGROUP) }
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
