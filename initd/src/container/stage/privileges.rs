//! Gives up what the container's program shall not have, in the one order that works.

use rustix::fs::Mode;
use rustix::process::{Gid, Uid};

use super::config::Config;
use super::{Ready, StageError};
use crate::isolation::{rlimits, schedule};
use crate::rootfs::RootfsError;

/// The file mode mask of a program that names none.
const UMASK: u32 = 0o022;

/// Becomes the program's user with its limits. Its capabilities come with [`finish`].
pub fn become_user(config: &Config, ready: &Ready) -> Result<(), StageError> {
    let process = &config.spec.process;
    if config.world.is_guest() {
        rlimits::apply_with_defaults(&process.rlimits)?;
    } else {
        rlimits::apply(&process.rlimits)?;
    }
    schedule::apply(process, config.spec.linux.personality.as_ref())?;
    rustix::process::umask(Mode::from_raw_mode(process.user.umask.unwrap_or(UMASK) & 0o777));
    ready.capabilities.bound()?;
    let identity = &ready.identity;
    if identity.uid != 0 {
        rustix::thread::set_keep_capabilities(true).map_err(RootfsError::step("keep capabilities"))?;
    }
    let groups: Vec<_> = identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    rustix::thread::set_thread_groups(&groups).map_err(RootfsError::step("set the supplementary groups"))?;
    let gid = Gid::from_raw(identity.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(RootfsError::step("set the group id"))?;
    let uid = Uid::from_raw(identity.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(RootfsError::step("set the user id"))?;
    Ok(())
}

/// The last step: capabilities and the system call filter.
pub fn finish(config: &Config, ready: &mut Ready) -> Result<(), StageError> {
    if let Some(profile) = ready.apparmor.take() {
        profile.take_on()?;
    }
    if config.spec.process.no_new_privileges {
        rustix::thread::set_no_new_privs(true).map_err(RootfsError::step("set no_new_privs"))?;
        ready.capabilities.set()?;
        return install(ready);
    }
    if ready.filter.is_some() {
        // Without no_new_privs the kernel takes a filter from the privileged alone, so it comes before the
        // privileges go; who is no longer root has them only where they are made effective.
        if ready.identity.uid != 0 {
            crate::isolation::capabilities::raise()?;
        }
        install(ready)?;
    }
    Ok(ready.capabilities.set()?)
}

fn install(ready: &mut Ready) -> Result<(), StageError> {
    let Some(filter) = &mut ready.filter else { return Ok(()) };
    match (filter.install()?, ready.notified.take()) {
        (Some(descriptor), Some(listener)) => listener.send(&descriptor),
        _ => Ok(()),
    }
}
