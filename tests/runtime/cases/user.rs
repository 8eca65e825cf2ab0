//! config.md: User, and the capabilities of the process.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::case::Case;
use crate::trial::Trial;

const USER: &str = "config.md POSIX-platform User";
const CAPABILITIES: &str = "config.md Linux Process: capabilities";

/// CAP_CHOWN, CAP_KILL and CAP_NET_RAW as the kernel shows them.
const THREE: &str = "0000000000002021";
const NONE: &str = "0000000000000000";

/// The cases of this part.
pub const CASES: &[Case] = &[
    Case::must("user.uid_and_gid", USER, |t| {
        t.set("/process/user", json!({ "uid": 1234, "gid": 5678 }))?;
        t.prints(
            "grep -E '^(Uid|Gid):' /proc/self/status | tr '\\t' ' '",
            "Uid: 1234 1234 1234 1234\nGid: 5678 5678 5678 5678",
        )
    }),
    Case::must("user.additional_gids", "config.md POSIX-platform User: additionalGids", |t| {
        t.set("/process/user/additionalGids", json!([10, 20, 4000]))?;
        t.prints("grep Groups: /proc/self/status | tr -d '\\t'", "Groups:10 20 4000")
    }),
    Case::must("user.no_groups_of_the_runtime", "config.md POSIX-platform User: additionalGids", |t| {
        t.set("/process/user", json!({ "uid": 1000, "gid": 1000 }))?;
        t.prints("id -G", "1000")
    }),
    Case::must("user.umask", "config.md POSIX-platform User: umask", |t| {
        t.set("/process/user/umask", json!(0o027))?;
        t.prints("umask", "0027")
    }),
    Case::must("user.umask_unset", "config.md POSIX-platform User: umask unset is the caller's", |t| {
        t.prints("umask", "0022")
    }),
    Case::must("user.negative", "config.md Valid values: an invalid value is an error", |t| {
        t.refuses("/process/user/uid", json!(-1), json!(1))
    }),
    Case::must("user.no_number", "config.md Valid values: an invalid value is an error", |t| {
        t.refuses("/process/user/uid", json!("root"), json!(0))
    }),
    Case::must("user.standard_streams_can_be_opened", USER, |t| {
        t.set("/process/user", json!({ "uid": 1000, "gid": 1000 }))?;
        t.prints("id -u; echo again >/proc/self/fd/1", "1000\nagain")
    }),
    Case::must("capabilities.bounding", CAPABILITIES, |t| {
        sets(t, &["bounding"])?;
        t.set("/process/user", json!({ "uid": 1000, "gid": 1000 }))?;
        shows(t, [NONE, NONE, NONE, THREE, NONE])
    }),
    Case::must("capabilities.permitted", CAPABILITIES, |t| {
        sets(t, &["bounding", "permitted", "effective"])?;
        shows(t, [NONE, THREE, THREE, THREE, NONE])
    }),
    Case::must("capabilities.inheritable", CAPABILITIES, |t| {
        sets(t, &["bounding", "permitted", "effective", "inheritable"])?;
        shows(t, [THREE, THREE, THREE, THREE, NONE])
    }),
    Case::must("capabilities.ambient", CAPABILITIES, |t| {
        sets(t, &["bounding", "permitted", "effective", "inheritable", "ambient"])?;
        t.set("/process/user", json!({ "uid": 1000, "gid": 1000 }))?;
        shows(t, [THREE, THREE, THREE, THREE, THREE])
    }),
    Case::must("capabilities.user_without_ambient", CAPABILITIES, |t| {
        sets(t, &["bounding", "permitted", "effective"])?;
        t.set("/process/user", json!({ "uid": 1000, "gid": 1000 }))?;
        shows(t, [NONE, NONE, NONE, THREE, NONE])
    }),
    Case::must("capabilities.empty", CAPABILITIES, |t| {
        t.set("/process/capabilities", json!({}))?;
        shows(t, [NONE, NONE, NONE, NONE, NONE])
    }),
    Case::must("capabilities.are_enforced", CAPABILITIES, |t| {
        t.capable(&["CAP_CHOWN"])?;
        t.prints("touch /tmp/f; chown 7 /tmp/f; stat -c %u /tmp/f; mknod /tmp/n c 1 3 2>/dev/null || echo no device", "7\nno device")
    }),
    Case::should(
        "capabilities.unknown_is_a_warning",
        "config.md Linux Process: one that cannot be granted SHOULD NOT fail",
        |t| {
            t.capable(&["CAP_CHOWN", "CAP_HARBOUR"])?;
            t.prints("grep CapEff /proc/self/status | tr -d '\\t'", "CapEff:0000000000000001")
        },
    ),
    Case::should(
        "capabilities.ambient_that_cannot_be_is_a_warning",
        "config.md Linux Process: one that cannot be granted SHOULD NOT fail",
        |t| {
            // What `runc spec` writes: ambient ones that are not inheritable, which the kernel refuses.
            sets(t, &["bounding", "permitted", "effective", "ambient"])?;
            shows(t, [NONE, THREE, THREE, THREE, NONE])
        },
    ),
    Case::must("capabilities.all", CAPABILITIES, |t| {
        t.capable(&[
            "CAP_CHOWN",
            "CAP_DAC_OVERRIDE",
            "CAP_DAC_READ_SEARCH",
            "CAP_FOWNER",
            "CAP_FSETID",
            "CAP_KILL",
            "CAP_SETGID",
            "CAP_SETUID",
            "CAP_SETPCAP",
            "CAP_LINUX_IMMUTABLE",
            "CAP_NET_BIND_SERVICE",
            "CAP_NET_BROADCAST",
            "CAP_NET_ADMIN",
            "CAP_NET_RAW",
            "CAP_IPC_LOCK",
            "CAP_IPC_OWNER",
            "CAP_SYS_MODULE",
            "CAP_SYS_RAWIO",
            "CAP_SYS_CHROOT",
            "CAP_SYS_PTRACE",
            "CAP_SYS_PACCT",
            "CAP_SYS_ADMIN",
            "CAP_SYS_BOOT",
            "CAP_SYS_NICE",
            "CAP_SYS_RESOURCE",
            "CAP_SYS_TIME",
            "CAP_SYS_TTY_CONFIG",
            "CAP_MKNOD",
            "CAP_LEASE",
            "CAP_AUDIT_WRITE",
            "CAP_AUDIT_CONTROL",
            "CAP_SETFCAP",
            "CAP_MAC_OVERRIDE",
            "CAP_MAC_ADMIN",
            "CAP_SYSLOG",
            "CAP_WAKE_ALARM",
            "CAP_BLOCK_SUSPEND",
            "CAP_AUDIT_READ",
            "CAP_PERFMON",
            "CAP_BPF",
            "CAP_CHECKPOINT_RESTORE",
        ])?;
        t.prints("grep CapEff /proc/self/status | tr -d '\\t'", "CapEff:000001ffffffffff")
    }),
];

/// Puts the three into these sets, and nothing into the others.
fn sets(t: &mut Trial<'_>, names: &[&str]) -> Result<()> {
    t.set("/process/capabilities", json!({}))?;
    for name in names {
        t.set(&format!("/process/capabilities/{name}"), json!(["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"]))?;
    }
    Ok(())
}

/// Fails unless the sets are these: inheritable, permitted, effective, bounding, ambient.
fn shows(t: &mut Trial<'_>, wanted: [&str; 5]) -> Result<()> {
    let said = t.output("grep Cap /proc/self/status")?;
    let sets: Vec<&str> = said.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    ensure!(
        sets == wanted,
        "inheritable, permitted, effective, bounding, ambient are {sets:?} and not {wanted:?}"
    );
    Ok(())
}
