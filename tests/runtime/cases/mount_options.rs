//! config.md: Linux mount options, one a case; and mappings of users on a mount.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::json;

use super::mounts::mount_tmpfs;
use crate::case::Case;
use crate::trial::Trial;

const OPTIONS: &str = "config.md Linux mount options";
const RECURSIVE: &str = "config.md Linux mount options: recursive ones";
const MAPPED: &str = "config.md Linux mount options: idmap";

/// The cases of this part.
pub const CASES: &[Case] = &[
    Case::must("option.ro", OPTIONS, |t| has(t, &["ro"], "ro")),
    Case::must("option.rw", OPTIONS, |t| has(t, &["ro", "rw"], "rw")),
    Case::must("option.nosuid", OPTIONS, |t| has(t, &["nosuid"], "nosuid")),
    Case::must("option.suid", OPTIONS, |t| has_not(t, &["nosuid", "suid"], "nosuid")),
    Case::must("option.nodev", OPTIONS, |t| has(t, &["nodev"], "nodev")),
    Case::must("option.dev", OPTIONS, |t| has_not(t, &["nodev", "dev"], "nodev")),
    Case::must("option.noexec", OPTIONS, |t| has(t, &["noexec"], "noexec")),
    Case::must("option.exec", OPTIONS, |t| has_not(t, &["noexec", "exec"], "noexec")),
    Case::must("option.noatime", OPTIONS, |t| has(t, &["noatime"], "noatime")),
    Case::must("option.relatime", OPTIONS, |t| has(t, &["relatime", "nodev"], "nodev")),
    Case::must("option.nostrictatime", OPTIONS, |t| has(t, &["strictatime", "nostrictatime"], "relatime")),
    Case::must("option.strictatime", OPTIONS, |t| has_not(t, &["strictatime"], "relatime")),
    Case::must("option.nodiratime", OPTIONS, |t| has(t, &["nodiratime"], "nodiratime")),
    Case::must("option.diratime", OPTIONS, |t| has_not(t, &["nodiratime", "diratime"], "nodiratime")),
    Case::must("option.sync", OPTIONS, |t| has(t, &["sync"], "sync")),
    Case::must("option.async", OPTIONS, |t| has_not(t, &["sync", "async"], "sync")),
    Case::must("option.dirsync", OPTIONS, |t| has(t, &["dirsync"], "dirsync")),
    Case::must("option.lazytime", OPTIONS, |t| has(t, &["lazytime"], "lazytime")),
    Case::must("option.nolazytime", OPTIONS, |t| has_not(t, &["lazytime", "nolazytime"], "lazytime")),
    Case::must("option.defaults", OPTIONS, |t| has(t, &["defaults"], "rw")),
    Case::must("option.silent", OPTIONS, |t| has(t, &["silent", "nodev"], "nodev")),
    Case::must("option.loud", OPTIONS, |t| has(t, &["silent", "loud", "nodev"], "nodev")),
    Case::must("option.iversion", OPTIONS, |t| has(t, &["noiversion", "nodev"], "nodev")),
    Case::should("option.nosymfollow", OPTIONS, |t| has(t, &["nosymfollow"], "nosymfollow")),
    Case::must("option.remount", OPTIONS, |t| {
        t.mount("/mnt", "tmpfs", "tmpfs", &["size=64k"])?;
        t.mount("/mnt", "tmpfs", "tmpfs", &["remount", "ro"])?;
        t.prints(
            "df -k /mnt | awk 'END { print $2 }'; touch /mnt/f 2>/dev/null || echo refused",
            "64\nrefused",
        )
    }),
    Case::must("option.last_one_counts", "config.md Linux mount options: as mount(8) has it", |t| {
        has(t, &["rw", "ro"], "ro")
    }),
    Case::must("option.private", OPTIONS, |t| propagates(t, &["bind", "private"], "")),
    Case::must("option.rprivate", OPTIONS, |t| propagates(t, &["bind", "rprivate"], "")),
    Case::must("option.shared", OPTIONS, |t| propagates(t, &["bind", "shared"], "shared:")),
    Case::must("option.rshared", OPTIONS, |t| propagates(t, &["bind", "rshared"], "shared:")),
    Case::must("option.slave", OPTIONS, |t| propagates(t, &["bind", "slave"], "master:")),
    Case::must("option.rslave", OPTIONS, |t| propagates(t, &["bind", "rslave"], "master:")),
    Case::must("option.unbindable", OPTIONS, |t| propagates(t, &["bind", "unbindable"], "unbindable")),
    Case::must("option.runbindable", OPTIONS, |t| propagates(t, &["bind", "runbindable"], "unbindable")),
    Case::should("option.rro", RECURSIVE, |t| below(t, "rro", "ro")),
    Case::should("option.rnosuid", RECURSIVE, |t| below(t, "rnosuid", "nosuid")),
    Case::should("option.rnodev", RECURSIVE, |t| below(t, "rnodev", "nodev")),
    Case::should("option.rnoexec", RECURSIVE, |t| below(t, "rnoexec", "noexec")),
    Case::should("option.rnoatime", RECURSIVE, |t| below(t, "rnoatime", "noatime")),
    Case::should("option.rnodiratime", RECURSIVE, |t| below(t, "rnodiratime", "nodiratime")),
    Case::should("option.rnosymfollow", RECURSIVE, |t| below(t, "rnosymfollow", "nosymfollow")),
    Case::should("option.ro_is_not_recursive", OPTIONS, |t| {
        mount_tmpfs(&t.folder("given/below")?)?;
        t.mount("/mnt", "bind", "given", &["rbind", "ro"])?;
        t.prints("touch /mnt/f 2>/dev/null || echo refused; touch /mnt/below/f && echo kept", "refused\nkept")
    }),
    Case::should("option.tmpcopyup", "config.md Linux mount options: tmpcopyup (MAY)", |t| {
        t.file("rootfs/var/kept/file", "from the root")?;
        t.mount("/var/kept", "tmpfs", "tmpfs", &["tmpcopyup"])?;
        t.prints("cat /var/kept/file; grep -c ' /var/kept tmpfs' /proc/mounts", "from the root1")
    }),
    Case::should("option.idmap", MAPPED, |t| {
        let mapping = json!([{ "containerID": 0, "hostID": 5000, "size": 10 }]);
        let source = owned_by(t, 0)?;
        t.push(
            "/mounts",
            json!({
                "destination": "/mnt", "type": "bind", "source": source, "options": ["bind", "idmap"],
                "uidMappings": mapping, "gidMappings": mapping,
            }),
        )?;
        let said = t.output("stat -c '%u %g' /mnt/file");
        let _ = fs::remove_dir_all(&source);
        let said = said?;
        ensure!(said == "5000 5000", "the file is owned by {said}");
        Ok(())
    }),
    Case::must(
        "option.idmap_without_mappings",
        "config.md Linux mount options: idmap without any mapping is an error",
        |t| {
            t.folder("given")?;
            t.control()?;
            t.mount("/mnt", "bind", "given", &["bind", "idmap"])?;
            t.refused(false)
        },
    ),
    Case::must(
        "option.uid_mappings_alone",
        "config.md POSIX-platform Mounts: uidMappings MUST be along with gidMappings",
        |t| {
            t.folder("given")?;
            t.control()?;
            t.push(
                "/mounts",
                json!({
                    "destination": "/mnt", "type": "bind", "source": "given", "options": ["bind", "idmap"],
                    "uidMappings": [{ "containerID": 0, "hostID": 5000, "size": 10 }],
                }),
            )?;
            t.refused(false)
        },
    ),
];

/// The options of what is mounted last on a place, those of the mount and those of the file system.
const SHOW: &str = "show() { grep \" $1 \" /proc/mounts | tail -n 1 | cut -d' ' -f4; }";

fn options(t: &mut Trial<'_>, given: &[&str]) -> Result<String> {
    t.mount("/mnt", "tmpfs", "harbour", given)?;
    let said = t.output(&format!("{SHOW}; grep -q ^harbour /proc/mounts && show /mnt"))?;
    Ok(format!(",{said},"))
}

fn has(t: &mut Trial<'_>, given: &[&str], wanted: &str) -> Result<()> {
    let options = options(t, given)?;
    ensure!(options.contains(&format!(",{wanted},")), "{wanted} is not in {options}");
    Ok(())
}

fn has_not(t: &mut Trial<'_>, given: &[&str], unwanted: &str) -> Result<()> {
    let options = options(t, given)?;
    ensure!(!options.contains(&format!(",{unwanted},")), "{unwanted} is in {options}");
    Ok(())
}

/// How a mount that is shared outside propagates inside.
fn propagates(t: &mut Trial<'_>, given: &[&str], wanted: &str) -> Result<()> {
    let source = t.folder("given")?;
    mount_tmpfs(&source)?;
    rustix::mount::mount_change(&source, rustix::mount::MountPropagationFlags::SHARED)?;
    t.mount("/mnt", "bind", "given", given)?;
    let said = t.output("grep -q ' /mnt ' /proc/self/mountinfo; grep ' /mnt ' /proc/self/mountinfo | sed 's/ - .*//' | cut -d' ' -f7-")?;
    let right = if wanted.is_empty() { said.is_empty() } else { said.starts_with(wanted) };
    ensure!(right, "the mount is {said:?} and not {wanted:?}");
    Ok(())
}

/// Whether an option reaches a mount below the one that is bound.
fn below(t: &mut Trial<'_>, given: &str, wanted: &str) -> Result<()> {
    mount_tmpfs(&t.folder("given/below")?)?;
    t.mount("/mnt", "bind", "given", &["rbind", given])?;
    for place in ["/mnt", "/mnt/below"] {
        let said = format!(",{},", t.output(&format!("{SHOW}; show {place}"))?);
        ensure!(said.contains(&format!(",{wanted},")), "{wanted} is not in {said} of {place}");
    }
    Ok(())
}

/// A folder with a file on a file system that knows mapped mounts; tmpfs does only since Linux 6.3.
fn owned_by(t: &Trial<'_>, owner: u32) -> Result<std::path::PathBuf> {
    let folder = std::path::Path::new("/var/tmp").join(&t.id);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("file"), "")?;
    std::os::unix::fs::chown(folder.join("file"), Some(owner), Some(owner))?;
    Ok(folder)
}
