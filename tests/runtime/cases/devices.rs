//! config-linux.md: Default filesystems and devices, Devices, Allowed Device list; runtime-linux.md.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::case::Case;
use crate::trial::Trial;

const DEFAULT: &str = "config-linux.md Default Devices";
const DEVICES: &str = "config-linux.md Devices";
const ALLOWED: &str = "config-linux.md Allowed Device list";

/// The cases of this part.
pub const CASES: &[Case] = &[
    Case::must("device.null", DEFAULT, |t| is_device(t, "/dev/null", "1:3")),
    Case::must("device.zero", DEFAULT, |t| is_device(t, "/dev/zero", "1:5")),
    Case::must("device.full", DEFAULT, |t| is_device(t, "/dev/full", "1:7")),
    Case::must("device.random", DEFAULT, |t| is_device(t, "/dev/random", "1:8")),
    Case::must("device.urandom", DEFAULT, |t| is_device(t, "/dev/urandom", "1:9")),
    Case::must("device.tty", DEFAULT, |t| is_device(t, "/dev/tty", "5:0")),
    Case::must("device.ptmx", DEFAULT, |t| {
        t.prints("stat -L -c '%t:%T' /dev/ptmx; readlink /dev/ptmx || true", "5:2\npts/ptmx")
    }),
    Case::must("device.defaults_work", DEFAULT, |t| {
        t.prints(
            "echo gone >/dev/null; head -c 4 /dev/zero | wc -c; echo x 2>/dev/null >/dev/full || echo full; head -c 3 /dev/urandom | wc -c",
            "4\nfull\n3",
        )
    }),
    Case::must("device.links", "runtime-linux.md Dev symbolic links", |t| {
        t.prints(
            "for l in fd stdin stdout stderr; do readlink /dev/$l; done",
            "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2",
        )
    }),
    Case::must("device.only_three_descriptors", "runtime-linux.md File descriptors", |t| {
        let said = t.output("ls /proc/$$/fd; true")?;
        ensure!(said == "0\n1\n2", "the descriptors are {said}");
        Ok(())
    }),
    Case::must("device.character", DEVICES, |t| {
        t.push("/linux/devices", json!({ "path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 7, "gid": 8 }))?;
        t.prints("stat -c '%F %t:%T %a %u %g' /dev/mine", "character special file 1:3 640 7 8")
    }),
    Case::must("device.block", DEVICES, |t| {
        t.push(
            "/linux/devices",
            json!({ "path": "/dev/disk", "type": "b", "major": 254, "minor": 0, "fileMode": 0o600 }),
        )?;
        t.prints("stat -c '%F %t:%T %a' /dev/disk", "block special file fe:0 600")
    }),
    Case::must("device.unbuffered", "config-linux.md Devices: type u", |t| {
        t.push(
            "/linux/devices",
            json!({ "path": "/dev/mine", "type": "u", "major": 1, "minor": 3, "fileMode": 0o600 }),
        )?;
        t.prints("stat -c '%F %t:%T %a' /dev/mine", "character special file 1:3 600")
    }),
    Case::must("device.fifo", "config-linux.md Devices: type p", |t| {
        t.push("/linux/devices", json!({ "path": "/dev/pipe", "type": "p", "fileMode": 0o622 }))?;
        t.prints("stat -c '%F %a' /dev/pipe", "fifo 622")
    }),
    Case::must("device.mode_whatever_the_umask", DEVICES, |t| {
        t.set("/process/user/umask", json!(0o077))?;
        t.push(
            "/linux/devices",
            json!({ "path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666 }),
        )?;
        t.prints("stat -c %a /dev/mine", "666")
    }),
    Case::must("device.outside_of_dev", "config-linux.md Devices: the path MAY be anywhere", |t| {
        t.push("/linux/devices", json!({ "path": "/var/deep/mine", "type": "c", "major": 1, "minor": 5 }))?;
        t.prints("stat -c '%F %t:%T' /var/deep/mine", "character special file 1:5")
    }),
    Case::must(
        "device.another_file_is_there",
        "config-linux.md Devices: a file that does not match is an error",
        |t| {
            let device = |path: &str| json!([{ "path": path, "type": "c", "major": 1, "minor": 3 }]);
            t.file("rootfs/var/mine", "a file")?;
            t.refuses("/linux/devices", device("/var/mine"), device("/var/other"))
        },
    ),
    Case::must("device.unknown_type", "config-linux.md Devices: type: c, b, u or p", |t| {
        let device = |kind: &str| json!([{ "path": "/dev/mine", "type": kind, "major": 1, "minor": 3 }]);
        t.refuses("/linux/devices", device("x"), device("c"))
    }),
    Case::must("device.path_required", "config-linux.md Devices: path is REQUIRED", |t| {
        t.control()?;
        t.push("/linux/devices", json!({ "type": "c", "major": 1, "minor": 3 }))?;
        t.refused(false)
    }),
    Case::must("device.denied", ALLOWED, |t| {
        t.push("/linux/devices", json!({ "path": "/dev/disk", "type": "b", "major": 254, "minor": 0 }))?;
        t.push("/linux/devices", json!({ "path": "/dev/kmsg2", "type": "c", "major": 1, "minor": 11 }))?;
        rules(t, &[json!({ "allow": false, "access": "rwm" })])?;
        t.prints(
            "stat -c %t:%T /dev/kmsg2; head -c 1 /dev/kmsg2 2>&1 | grep -o 'not permitted'",
            "1:b\nnot permitted",
        )
    }),
    Case::must("device.allowed", ALLOWED, |t| {
        t.push("/linux/devices", json!({ "path": "/dev/disk", "type": "b", "major": 254, "minor": 0 }))?;
        rules(
            t,
            &[
                json!({ "allow": false, "access": "rwm" }),
                json!({ "allow": true, "type": "b", "major": 254, "minor": 0, "access": "r" }),
            ],
        )?;
        t.prints(
            "head -c 8 /dev/disk | wc -c; true 2>&1 >>/dev/disk | grep -o 'not permitted'",
            "8\nnot permitted",
        )
    }),
    Case::must(
        "device.allowed_by_wildcard",
        "config-linux.md Allowed Device list: unset numbers mean all",
        |t| {
            t.push("/linux/devices", json!({ "path": "/dev/disk", "type": "b", "major": 254, "minor": 0 }))?;
            rules(
                t,
                &[
                    json!({ "allow": false, "access": "rwm" }),
                    json!({ "allow": true, "type": "b", "major": 254, "access": "rw" }),
                ],
            )?;
            t.prints("head -c 8 /dev/disk | wc -c", "8")
        },
    ),
    Case::must(
        "device.rules_in_order",
        "config-linux.md Allowed Device list: MUST be applied in the listed order",
        |t| {
            t.push("/linux/devices", json!({ "path": "/dev/disk", "type": "b", "major": 254, "minor": 0 }))?;
            rules(
                t,
                &[
                    json!({ "allow": false, "access": "rwm" }),
                    json!({ "allow": true, "type": "b", "access": "rwm" }),
                    json!({ "allow": false, "type": "b", "major": 254, "minor": 0, "access": "rwm" }),
                ],
            )?;
            t.prints(
                "stat -c %t:%T /dev/disk; head -c 8 /dev/disk 2>&1 | grep -o 'not permitted'",
                "fe:0\nnot permitted",
            )
        },
    ),
    Case::must("device.all_allowed", "config-linux.md Allowed Device list: unset type means all", |t| {
        t.push("/linux/devices", json!({ "path": "/dev/disk", "type": "b", "major": 254, "minor": 0 }))?;
        rules(t, &[json!({ "allow": true, "access": "rwm" })])?;
        t.prints("head -c 8 /dev/disk | wc -c", "8")
    }),
    Case::must("device.mknod_is_ruled_too", "config-linux.md Allowed Device list: access m", |t| {
        t.capable(&["CAP_MKNOD"])?;
        rules(
            t,
            &[
                json!({ "allow": false, "access": "rwm" }),
                json!({ "allow": true, "type": "c", "major": 10, "minor": 229, "access": "m" }),
            ],
        )?;
        t.prints(
            "mknod /tmp/a c 10 229 && echo made; mknod /tmp/b b 254 0 2>&1 | grep -o 'not permitted'",
            "made\nnot permitted",
        )
    }),
    Case::must("device.rule_of_unknown_type", ALLOWED, |t| {
        let rules = |kind: &str| json!([{ "allow": false, "access": "rwm" }, { "allow": true, "type": kind, "access": "r" }]);
        t.refuses("/linux/resources/devices", rules("x"), rules("c"))
    }),
    Case::must("device.rule_with_unknown_access", ALLOWED, |t| {
        let rules = |access: &str| json!([{ "allow": false, "access": "rwm" }, { "allow": true, "type": "c", "major": 1, "minor": 3, "access": access }]);
        t.refuses("/linux/resources/devices", rules("rx"), rules("rw"))
    }),
    Case::must(
        "device.in_a_user_namespace",
        "config-linux.md Default Devices: supplied however the runtime likes",
        |t| {
            super::namespaces::with_users(t)?;
            t.prints("id -u; test -c /dev/null && echo x >/dev/null && stat -c %t:%T /dev/zero; cut -d' ' -f2 /proc/self/uid_map >/dev/null; awk '{ print $2 }' /proc/self/uid_map", "0\n1:5\n100000")
        },
    ),
    Case::must("device.root_on_its_own_dev", "config-linux.md Default Devices", |t| {
        // Without a mount on /dev the nodes come into the root itself.
        t.unmount("/dev")?;
        t.unmount("/dev/pts")?;
        t.unmount("/dev/shm")?;
        t.unmount("/dev/mqueue")?;
        t.prints("grep -c ' /dev ' /proc/mounts || true; stat -c %t:%T /dev/null", "0\n1:3")?;
        ensure!(fs::symlink_metadata(t.root("/dev/null")).is_ok(), "the root has no node");
        Ok(())
    }),
];

fn rules(t: &mut Trial<'_>, rules: &[serde_json::Value]) -> Result<()> {
    t.set("/linux/resources/devices", json!(rules))
}

fn is_device(t: &mut Trial<'_>, path: &str, numbers: &str) -> Result<()> {
    t.prints(&format!("stat -c '%F %t:%T %a' {path}"), &format!("character special file {numbers} 666"))
}
