//! config-linux.md: Namespaces, mappings of users, offsets of clocks; config.md: Hostname, Domainname.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::case::Case;
use crate::process::Holder;
use crate::trial::Trial;

const NEW: &str = "config-linux.md Namespaces: without a path a new one MUST be created";
const INHERITED: &str = "config-linux.md Namespaces: a type that is not listed MUST be inherited";
const JOINED: &str = "config-linux.md Namespaces: the process MUST be placed in that of the path";

/// The cases of this part.
pub const CASES: &[Case] = &[
    Case::must("namespace.pid_new", NEW, |t| {
        t.prints(
            "echo $$; ls -d /proc/[0-9]* | wc -l | grep -E '^[1-4]$' >/dev/null && echo alone",
            "1\nalone",
        )
    }),
    Case::must("namespace.network_new", NEW, |t| {
        t.namespace("network")?;
        t.prints("ls /sys/class/net", "lo")
    }),
    Case::must("namespace.ipc_new", NEW, |t| is_new(t, "ipc", "ipc")),
    Case::must("namespace.uts_new", NEW, |t| is_new(t, "uts", "uts")),
    Case::must("namespace.mount_new", NEW, |t| is_new(t, "mount", "mnt")),
    Case::must("namespace.cgroup_new", NEW, |t| t.prints("cat /proc/self/cgroup", "0::/")),
    Case::must("namespace.time_new", NEW, |t| {
        t.namespace("time")?;
        is_new(t, "time", "time")
    }),
    Case::must("namespace.user_new", NEW, |t| {
        with_users(t)?;
        is_new(t, "user", "user")
    }),
    Case::must("namespace.pid_inherited", INHERITED, |t| is_inherited(t, "pid", "pid")),
    Case::must("namespace.network_inherited", INHERITED, |t| {
        t.passes_deaf();
        is_inherited(t, "network", "net")
    }),
    Case::must("namespace.ipc_inherited", INHERITED, |t| is_inherited(t, "ipc", "ipc")),
    Case::must("namespace.uts_inherited", INHERITED, |t| {
        t.remove("/hostname")?;
        is_inherited(t, "uts", "uts")
    }),
    Case::must("namespace.cgroup_inherited", INHERITED, |t| is_inherited(t, "cgroup", "cgroup")),
    Case::must("namespace.pid_joined", JOINED, |t| {
        let holder = Holder::unshare(&["--pid", "--fork", "--kill-child"], t.deadline)?;
        let child = fs::read_to_string(format!("/proc/{0}/task/{0}/children", holder.id()))?;
        let child = child.trim().parse().context("the holder has no child")?;
        is_joined(t, "pid", "pid", child)
    }),
    Case::must("namespace.network_joined", JOINED, |t| {
        let holder = Holder::unshare(&["--net"], t.deadline)?;
        is_joined(t, "network", "net", holder.id())
    }),
    Case::must("namespace.ipc_joined", JOINED, |t| {
        let holder = Holder::unshare(&["--ipc"], t.deadline)?;
        is_joined(t, "ipc", "ipc", holder.id())
    }),
    Case::must("namespace.uts_joined", JOINED, |t| {
        t.remove("/hostname")?;
        let holder = Holder::unshare(&["--uts"], t.deadline)?;
        is_joined(t, "uts", "uts", holder.id())
    }),
    Case::must("namespace.cgroup_joined", JOINED, |t| {
        let holder = Holder::unshare(&["--cgroup"], t.deadline)?;
        is_joined(t, "cgroup", "cgroup", holder.id())
    }),
    Case::must(
        "namespace.joined_stays",
        "runtime.md Delete: what the container did not create MUST NOT be deleted",
        |t| {
            let holder = Holder::unshare(&["--net"], t.deadline)?;
            is_joined(t, "network", "net", holder.id())?;
            t.kill("KILL")?;
            t.wait()?;
            t.delete()?;
            ensure!(
                Path::new(&format!("/proc/{}/ns/net", holder.id())).exists(),
                "the namespace's holder is gone"
            );
            Ok(())
        },
    ),
    Case::must(
        "namespace.wrong_type",
        "config-linux.md Namespaces: a path of another type is an error",
        |t| {
            t.control()?;
            t.replace_namespace("ipc", Some("/proc/self/ns/uts"))?;
            t.refused(false)
        },
    ),
    Case::must(
        "namespace.path_missing",
        "config-linux.md Namespaces: a path of no namespace is an error",
        |t| {
            t.control()?;
            t.replace_namespace("ipc", Some("/proc/self/ns/harbour"))?;
            t.refused(false)
        },
    ),
    Case::must(
        "namespace.path_of_a_file",
        "config-linux.md Namespaces: a path of no namespace is an error",
        |t| {
            t.control()?;
            t.replace_namespace("ipc", Some("/etc/passwd"))?;
            t.refused(false)
        },
    ),
    Case::must("namespace.twice", "config-linux.md Namespaces: duplicates are an error", |t| {
        t.control()?;
        t.namespace("ipc")?;
        t.refused(false)
    }),
    Case::must("namespace.unknown_type", "config.md Valid values: an invalid value is an error", |t| {
        t.control()?;
        t.namespace("harbour")?;
        t.refused(false)
    }),
    Case::must("users.mapped", "config-linux.md User namespace mappings", |t| {
        with_users(t)?;
        t.prints(
            "id -u; cat /proc/self/uid_map /proc/self/gid_map | tr -s ' ' | sed 's/^ //'",
            "0\n0 100000 65536\n0 200000 65536",
        )
    }),
    Case::must("users.outside", "config-linux.md User namespace mappings", |t| {
        with_users(t)?;
        t.set("/process/user", json!({ "uid": 5, "gid": 6 }))?;
        t.launch("echo ready; exec sleep 1000")?;
        let status = t.proc_file("status")?;
        ensure!(
            status.contains("Uid:\t100005\t100005") && status.contains("Gid:\t200006\t200006"),
            "{status}"
        );
        Ok(())
    }),
    Case::must("users.several_mappings", "config-linux.md User namespace mappings", |t| {
        with_users(t)?;
        let mappings = json!([
            { "containerID": 0, "hostID": 100000, "size": 10 },
            { "containerID": 1000, "hostID": 300000, "size": 1 },
        ]);
        t.set("/linux/uidMappings", mappings)?;
        t.prints(
            "wc -l </proc/self/uid_map; awk '{ print $1, $2, $3 }' /proc/self/uid_map",
            "2\n0 100000 10\n1000 300000 1",
        )
    }),
    Case::must("users.has_no_power_outside", "config-linux.md User namespace mappings", |t| {
        with_users(t)?;
        t.capable(&["CAP_SYS_ADMIN", "CAP_SYS_NICE"])?;
        t.prints(
            "renice -n -5 -p $$ 2>/dev/null || echo refused; awk '{ print $2 }' /proc/self/uid_map",
            "refused\n100000",
        )
    }),
    Case::should(
        "users.ownership_is_left",
        "config-linux.md User namespace mappings: the owners of files SHOULD NOT be modified",
        |t| {
            with_users(t)?;
            std::os::unix::fs::chown(t.root("/etc"), Some(100_007), Some(200_007))?;
            t.prints("stat -c '%u %g' /etc", "7 7")
        },
    ),
    Case::must("time.monotonic", "config-linux.md Offset for time namespace", |t| {
        t.namespace("time")?;
        t.set("/linux/timeOffsets", json!({ "monotonic": { "secs": 172800, "nanosecs": 5 } }))?;
        t.prints("grep monotonic /proc/self/timens_offsets | tr -s ' '", "monotonic 172800 5")
    }),
    Case::must("time.boottime", "config-linux.md Offset for time namespace", |t| {
        t.namespace("time")?;
        t.set("/linux/timeOffsets", json!({ "boottime": { "secs": 604800 } }))?;
        let days = t.output("awk '{ print int($1 / 86400) }' /proc/uptime")?;
        ensure!(days == "7", "it is up for {days} days");
        Ok(())
    }),
    Case::must(
        "time.without_a_namespace",
        "runtime.md Create: a property that cannot be applied is an error",
        |t| {
            t.control()?;
            t.set("/linux/timeOffsets", json!({ "monotonic": { "secs": 172800 } }))?;
            t.refused(false)
        },
    ),
    Case::must("time.unknown_clock", "config.md Valid values: an invalid value is an error", |t| {
        t.namespace("time")?;
        t.refuses(
            "/linux/timeOffsets",
            json!({ "harbour": { "secs": 1 } }),
            json!({ "monotonic": { "secs": 1 } }),
        )
    }),
    Case::must("hostname.set", "config.md Hostname", |t| {
        t.set("/hostname", json!("lighthouse"))?;
        t.prints("hostname", "lighthouse")
    }),
    Case::must("hostname.outside_is_left", "config.md Hostname", |t| {
        let before = fs::read_to_string("/proc/sys/kernel/hostname")?;
        t.set("/hostname", json!("lighthouse"))?;
        t.prints("cat /proc/sys/kernel/hostname", "lighthouse")?;
        ensure!(fs::read_to_string("/proc/sys/kernel/hostname")? == before, "the host has another name");
        Ok(())
    }),
    Case::must(
        "hostname.without_a_namespace",
        "runtime.md Create: a property that cannot be applied is an error",
        |t| {
            t.control()?;
            t.replace_namespace("uts", None)?;
            t.refused(false)
        },
    ),
    Case::must(
        "hostname.too_long",
        "runtime.md Create: a property that cannot be applied is an error",
        |t| t.refuses("/hostname", json!("x".repeat(65)), json!("x".repeat(64))),
    ),
    Case::must("domainname.set", "config.md Domainname", |t| {
        t.set("/domainname", json!("harbour.example"))?;
        t.prints("cat /proc/sys/kernel/domainname", "harbour.example")
    }),
];

/// Gives the container users of its own: root is 100000 outside, its group 200000.
pub fn with_users(t: &mut Trial<'_>) -> Result<()> {
    t.namespace("user")?;
    // Only who owns the network may mount sysfs.
    t.namespace("network")?;
    t.set("/linux/uidMappings", json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]))?;
    t.set("/linux/gidMappings", json!([{ "containerID": 0, "hostID": 200_000, "size": 65536 }]))
}

fn own(file: &str) -> Result<String> {
    Ok(fs::read_link(format!("/proc/self/ns/{file}"))?.display().to_string())
}

/// Fails unless the container has another namespace than we; it is listed once more, so that the case hears.
fn is_new(t: &mut Trial<'_>, kind: &str, file: &str) -> Result<()> {
    let listed = t.config().pointer("/linux/namespaces").is_some_and(|list| list.to_string().contains(kind));
    ensure!(listed, "the configuration has no namespace {kind}");
    let inside = t.output(&format!("readlink /proc/self/ns/{file}"))?;
    ensure!(inside.starts_with(file) && inside != own(file)?, "it is {inside}, as outside");
    Ok(())
}

fn is_inherited(t: &mut Trial<'_>, kind: &str, file: &str) -> Result<()> {
    t.replace_namespace(kind, None)?;
    t.launch("echo ready; exec sleep 1000")?;
    let inside = fs::read_link(format!("/proc/{}/ns/{file}", t.init()?))?.display().to_string();
    ensure!(inside == own(file)?, "it is {inside}, and outside {}", own(file)?);
    Ok(())
}

fn is_joined(t: &mut Trial<'_>, kind: &str, file: &str, process: u32) -> Result<()> {
    let path = format!("/proc/{process}/ns/{file}");
    let wanted = fs::read_link(&path)?;
    ensure!(wanted.display().to_string() != own(file)?, "the holder has our namespace");
    t.replace_namespace(kind, Some(&path))?;
    t.launch("echo ready; exec sleep 1000")?;
    let inside = fs::read_link(format!("/proc/{}/ns/{file}", t.init()?))?;
    ensure!(inside == wanted, "it is in {} and not in {}", inside.display(), wanted.display());
    Ok(())
}
