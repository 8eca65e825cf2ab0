//! The file systems of the guest's own root.

use std::ffi::CStr;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::BootError;

/// Where a container's root is put together, in the container's own mount namespace. Empty here.
pub const STAGE: &str = "/run/stage";

struct GuestMount {
    target: &'static str,
    kind: &'static str,
    flags: MountFlags,
    options: &'static CStr,
}

const STRICT: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

const MOUNTS: [GuestMount; 7] = [
    GuestMount { target: "dev", kind: "devtmpfs", flags: MountFlags::NOSUID, options: c"mode=755" },
    GuestMount { target: "proc", kind: "proc", flags: STRICT, options: c"" },
    GuestMount { target: "sys", kind: "sysfs", flags: STRICT, options: c"" },
    GuestMount {
        target: "dev/pts",
        kind: "devpts",
        flags: MountFlags::NOSUID.union(MountFlags::NOEXEC),
        options: c"mode=620,ptmxmode=666,gid=5",
    },
    GuestMount { target: "dev/shm", kind: "tmpfs", flags: STRICT, options: c"mode=1777" },
    GuestMount { target: "dev/mqueue", kind: "mqueue", flags: STRICT, options: c"" },
    GuestMount {
        target: "sys/fs/cgroup",
        kind: "cgroup2",
        flags: STRICT,
        options: c"nsdelegate,memory_recursiveprot",
    },
];

/// Mounts everything below the working directory, which is the new root.
pub fn mount_all() -> Result<(), BootError> {
    for path in ["dev", "proc", "sys", "run", "run/stage"] {
        make_directory(path)?;
    }
    for mount in &MOUNTS {
        if matches!(mount.target, "dev/pts" | "dev/shm" | "dev/mqueue") {
            make_directory(mount.target)?;
        }
        rustix::mount::mount(mount.kind, mount.target, mount.kind, mount.flags, mount.options).map_err(
            |error| BootError::Mount { kind: mount.kind, target: mount.target, source: error.into() },
        )?;
    }
    Ok(())
}

fn make_directory(path: &'static str) -> Result<(), BootError> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(BootError::Directory { path, source: error.into() }),
    }
}
