//! A bundle: a root of busybox, and the configuration that every case starts from.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// Debian's static busybox.
const BUSYBOX: &str = "/usr/bin/busybox";

/// What is in the root's `/bin`, each a link to busybox.
const APPLETS: &str = "awk cat chmod chown cp cut date dd df echo env false find grep head hostname id ionice kill \
    ln ls mkdir mkfifo mknod mount mv nproc nsenter od ps pwd readlink renice rm rmdir sed seq setpriv sh sleep sort \
    stat stty sync tail taskset test timeout touch tr true tty umount uname unshare wc yes";

/// Folders of the root.
const FOLDERS: [&str; 10] = ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "var", "run", "mnt"];

/// Makes a root file system.
pub fn make_root(root: &Path) -> Result<()> {
    for folder in FOLDERS {
        let path = root.join(folder);
        fs::create_dir_all(&path).with_context(|| format!("Cannot make {}", path.display()))?;
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    let busybox = root.join("bin/busybox");
    fs::copy(BUSYBOX, &busybox).context("Cannot copy busybox: the suite needs Debian's busybox-static")?;
    for applet in APPLETS.split_whitespace() {
        symlink("busybox", root.join("bin").join(applet)).context("Cannot link an applet")?;
    }
    Ok(())
}

/// The configuration that every case changes a little: what engines commonly ask for, without a network namespace.
pub fn base_config(cgroup: &str) -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": ["/bin/true"],
            "env": ["PATH=/bin", "TERM=dumb"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities,
                "effective": capabilities,
                "permitted": capabilities,
            },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024 }],
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs" },
        "hostname": "case",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
              "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
              "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs",
              "options": ["nosuid", "noexec", "nodev", "ro"] },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
              "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] },
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": [
                { "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }, { "type": "cgroup" },
            ],
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "maskedPaths": ["/proc/kcore", "/proc/keys"],
            "readonlyPaths": ["/proc/sys", "/proc/bus"],
        },
    })
}

/// The place in a document that a JSON pointer names, made where it is not there yet.
pub fn place<'a>(document: &'a mut Value, pointer: &str) -> Result<&'a mut Value> {
    let mut at = document;
    for part in pointer.split('/').skip(1) {
        if at.is_null() {
            *at = json!({});
        }
        at = match at {
            Value::Object(fields) => fields.entry(part).or_insert(Value::Null),
            Value::Array(items) => part
                .parse::<usize>()
                .ok()
                .and_then(|index| items.get_mut(index))
                .with_context(|| format!("{pointer}: there is no item {part}"))?,
            _ => bail!("{pointer}: {part} is in no object"),
        };
    }
    Ok(at)
}

/// Takes the field out that a JSON pointer names.
pub fn remove(document: &mut Value, pointer: &str) -> Result<()> {
    let (parent, field) = pointer.rsplit_once('/').context("A pointer has a slash")?;
    place(document, parent)?
        .as_object_mut()
        .and_then(|fields| fields.remove(field))
        .with_context(|| format!("{pointer} is not there"))?;
    Ok(())
}
