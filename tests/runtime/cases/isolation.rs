//! config-linux.md: Masked Paths, Readonly Paths, Rootfs Mount Propagation, Sysctl, Personality, Mount Label.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::case::Case;
use crate::trial::Trial;

const MASKED: &str = "config-linux.md Masked Paths";
const READONLY: &str = "config-linux.md Readonly Paths";
const PROPAGATION: &str = "config-linux.md Rootfs Mount Propagation";
const SYSCTL: &str = "config-linux.md Sysctl";
const PERSONALITY: &str = "config-linux.md Personality";

/// The cases of this part.
pub const CASES: &[Case] = &[
    Case::must("masked.file", MASKED, |t| {
        t.file("rootfs/etc/secret", "hidden")?;
        t.set("/linux/maskedPaths", json!(["/etc/secret"]))?;
        t.prints("cat /etc/secret; test -e /etc/secret && echo there", "there")
    }),
    Case::must("masked.folder", MASKED, |t| {
        t.file("rootfs/etc/secrets/one", "hidden")?;
        t.set("/linux/maskedPaths", json!(["/etc/secrets"]))?;
        t.prints("ls /etc/secrets; touch /etc/secrets/new 2>/dev/null || echo refused", "refused")
    }),
    Case::must("masked.of_proc", MASKED, |t| {
        t.set("/linux/maskedPaths", json!(["/proc/version", "/proc/fs"]))?;
        t.prints("cat /proc/version; ls /proc/fs; echo nothing", "nothing")
    }),
    Case::must("masked.absent_path_is_ignored", MASKED, |t| {
        t.set("/linux/maskedPaths", json!(["/proc/harbour", "/proc/version"]))?;
        t.prints("cat /proc/version; echo nothing", "nothing")
    }),
    Case::must("masked.cannot_be_written", MASKED, |t| {
        t.set("/linux/maskedPaths", json!(["/proc/sys/kernel/hostname", "/etc/secret"]))?;
        t.file("rootfs/etc/secret", "hidden")?;
        t.output("echo x >/etc/secret || true; cat /proc/sys/kernel/hostname")?;
        ensure!(fs::read_to_string(t.root("/etc/secret"))? == "hidden", "the file behind was written");
        let said = t.output("cat /proc/sys/kernel/hostname")?;
        ensure!(said.is_empty(), "it says {said:?}");
        Ok(())
    }),
    Case::must("readonly.file", READONLY, |t| {
        t.file("rootfs/etc/fixed", "text")?;
        t.set("/linux/readonlyPaths", json!(["/etc/fixed"]))?;
        t.prints("cat /etc/fixed; echo x 2>/dev/null >/etc/fixed || echo refused", "textrefused")
    }),
    Case::must("readonly.folder", READONLY, |t| {
        t.file("rootfs/etc/fixed/one", "text")?;
        t.set("/linux/readonlyPaths", json!(["/etc/fixed"]))?;
        t.prints("cat /etc/fixed/one; touch /etc/fixed/new 2>/dev/null || echo refused; touch /etc/other && echo kept", "textrefused\nkept")
    }),
    Case::must("readonly.of_proc", READONLY, |t| {
        t.set("/linux/readonlyPaths", json!(["/proc/bus"]))?;
        t.prints(
            "grep -c ' /proc/bus proc ro' /proc/mounts; echo inside >/proc/sys/kernel/hostname && hostname",
            "1\ninside",
        )
    }),
    Case::must("readonly.absent_path_is_ignored", READONLY, |t| {
        t.set("/linux/readonlyPaths", json!(["/proc/harbour", "/proc/bus"]))?;
        t.prints(
            "grep -c ' /proc/bus proc ro' /proc/mounts; grep -c ' /proc/sys ' /proc/mounts || true",
            "1\n0",
        )
    }),
    Case::must("propagation.shared", PROPAGATION, |t| {
        t.set("/linux/rootfsPropagation", json!("shared"))?;
        root_is(t, |tags| tags.contains("shared:"))
    }),
    Case::must("propagation.slave", PROPAGATION, |t| {
        host_is_shared(t)?;
        t.set("/linux/rootfsPropagation", json!("slave"))?;
        root_is(t, |tags| tags.contains("master:") && !tags.contains("shared:"))
    }),
    Case::must("propagation.private", PROPAGATION, |t| {
        host_is_shared(t)?;
        t.set("/linux/rootfsPropagation", json!("private"))?;
        t.passes_deaf();
        root_is(t, str::is_empty)
    }),
    Case::must("propagation.unbindable", PROPAGATION, |t| {
        t.set("/linux/rootfsPropagation", json!("unbindable"))?;
        root_is(t, |tags| tags.contains("unbindable"))
    }),
    Case::must(
        "propagation.invalid",
        "config-linux.md Rootfs Mount Propagation: shared, slave, private or unbindable",
        |t| t.refuses("/linux/rootfsPropagation", json!("harbour"), json!("slave")),
    ),
    Case::must("propagation.slave_receives", PROPAGATION, |t| {
        host_is_shared(t)?;
        t.set("/linux/rootfsPropagation", json!("slave"))?;
        t.launch("echo ready; sleep 1000")?;
        super::mounts::mount_tmpfs(&t.root("/mnt"))?;
        ensure!(t.proc_file("mountinfo")?.contains(" /mnt "), "the mount outside did not come in");
        Ok(())
    }),
    Case::must("sysctl.network", SYSCTL, |t| {
        t.namespace("network")?;
        t.set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1", "net.core.somaxconn": "256" }))?;
        t.prints("cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/core/somaxconn", "1\n256")
    }),
    Case::must("sysctl.ipc", SYSCTL, |t| {
        t.set(
            "/linux/sysctl",
            json!({ "kernel.msgmax": "12345", "kernel.shm_rmid_forced": "1", "fs.mqueue.msg_max": "17" }),
        )?;
        t.prints(
            "cat /proc/sys/kernel/msgmax /proc/sys/kernel/shm_rmid_forced /proc/sys/fs/mqueue/msg_max",
            "12345\n1\n17",
        )
    }),
    Case::must("sysctl.uts", SYSCTL, |t| {
        t.set("/linux/sysctl", json!({ "kernel.domainname": "harbour.example" }))?;
        t.prints("cat /proc/sys/kernel/domainname", "harbour.example")
    }),
    Case::must("sysctl.outside_is_left", SYSCTL, |t| {
        let before = fs::read_to_string("/proc/sys/kernel/msgmax")?;
        t.set("/linux/sysctl", json!({ "kernel.msgmax": "12346" }))?;
        t.prints("cat /proc/sys/kernel/msgmax", "12346")?;
        ensure!(fs::read_to_string("/proc/sys/kernel/msgmax")? == before, "the host's is another");
        Ok(())
    }),
    Case::must(
        "sysctl.without_a_namespace",
        "runtime.md Create: a property that cannot be applied is an error",
        |t| {
            t.control()?;
            // The network is the host's: its parameters are too.
            t.set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }))?;
            t.refused(false)
        },
    ),
    Case::must(
        "sysctl.of_the_whole_kernel",
        "runtime.md Create: a property that cannot be applied is an error",
        |t| t.refuses("/linux/sysctl", json!({ "vm.swappiness": "7" }), json!({ "kernel.msgmax": "12345" })),
    ),
    Case::must("sysctl.unknown", "runtime.md Create: a property that cannot be applied is an error", |t| {
        t.namespace("network")?;
        t.refuses("/linux/sysctl", json!({ "net.harbour": "1" }), json!({ "net.ipv4.ip_forward": "1" }))
    }),
    Case::must("personality.linux32", PERSONALITY, |t| {
        t.set("/linux/personality", json!({ "domain": "LINUX32" }))?;
        t.prints("uname -m; cat /proc/self/personality", "i686\n00000008")
    }),
    Case::must("personality.linux", PERSONALITY, |t| {
        t.set("/linux/personality", json!({ "domain": "LINUX", "flags": [] }))?;
        t.set("/hostname", json!("plain"))?;
        t.prints("uname -m; hostname", "x86_64\nplain")
    }),
    Case::must("personality.unknown", "config.md Valid values: an invalid value is an error", |t| {
        t.refuses("/linux/personality", json!({ "domain": "HARBOUR" }), json!({ "domain": "LINUX" }))
    }),
    Case::must("personality.flag", "config-linux.md Personality: no flag values are supported", |t| {
        t.refuses(
            "/linux/personality",
            json!({ "domain": "LINUX", "flags": ["HARBOUR"] }),
            json!({ "domain": "LINUX" }),
        )
    }),
];

/// Makes the bundle a mount that is shared.
fn host_is_shared(t: &Trial<'_>) -> Result<()> {
    let place = t.root("/");
    rustix::mount::mount_bind(&place, &place)?;
    rustix::mount::mount_change(&place, rustix::mount::MountPropagationFlags::SHARED)?;
    Ok(())
}

/// Fails unless the tags of the mount that is the container's root are right.
fn root_is(t: &mut Trial<'_>, right: impl Fn(&str) -> bool) -> Result<()> {
    let said = t.output(
        "grep -E '^[0-9]+ [0-9]+ [^ ]+ [^ ]+ / ' /proc/self/mountinfo | sed 's/ - .*//' | cut -d' ' -f7-",
    )?;
    ensure!(right(&said), "the root is {said:?}");
    Ok(())
}
