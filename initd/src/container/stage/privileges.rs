//! Gives up what the container's program shall not have, in the one order that works.

use rustix::fs::Mode;
use rustix::process::{Gid, Uid};

use super::{Ready, StageError};
use crate::isolation::rlimits;
use crate::rootfs::RootfsError;

/// The file mode mask of a program that names none.
const UMASK: u32 = 0o022;

/// Becomes the program's user with its limits, capabilities and system call filter.
pub fn give_up(ready: &mut Ready) -> Result<(), StageError> {
    let process = &ready.config.spec.process;
    rlimits::apply(&process.rlimits)?;
    rustix::process::umask(Mode::from_raw_mode(process.user.umask.unwrap_or(UMASK) & 0o777));
    ready.capabilities.bound()?;
    if process.no_new_privileges {
        rustix::thread::set_no_new_privs(true).map_err(RootfsError::step("set no_new_privs"))?;
    } else {
        // Without no_new_privs the kernel takes a filter from the privileged alone, so it comes before the
        // privileges go.
        ready.filter.install()?;
    }
    become_user(ready)?;
    ready.capabilities.set()?;
    if ready.config.spec.process.no_new_privileges {
        ready.filter.install()?;
    }
    Ok(())
}

/// Changes the ids and keeps the capabilities, which are lowered next.
fn become_user(ready: &Ready) -> Result<(), StageError> {
    let identity = &ready.identity;
    rustix::thread::set_keep_capabilities(true).map_err(RootfsError::step("keep capabilities"))?;
    let groups: Vec<_> = identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    rustix::thread::set_thread_groups(&groups).map_err(RootfsError::step("set the supplementary groups"))?;
    let gid = Gid::from_raw(identity.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(RootfsError::step("set the group id"))?;
    let uid = Uid::from_raw(identity.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(RootfsError::step("set the user id"))?;
    Ok(())
}
