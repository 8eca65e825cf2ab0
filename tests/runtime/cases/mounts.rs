//! config.md: Mounts; and what is at `root`.

use std::fs;

use anyhow::ensure;
use serde_json::json;

use crate::case::Case;

const MOUNTS: &str = "config.md Mounts";
const BIND: &str = "config.md Mounts: bind";

/// The cases of this part.
pub const CASES: &[Case] = &[
    Case::must("root.relative", "config.md Root: path relative to the bundle", |t| {
        fs::rename(t.bundle.join("rootfs"), t.bundle.join("other"))?;
        t.set("/root/path", json!("other"))?;
        t.file("other/etc/mark", "here")?;
        t.prints("cat /etc/mark", "here")
    }),
    Case::must("root.absolute", "config.md Root: path absolute", |t| {
        fs::rename(t.bundle.join("rootfs"), t.bundle.join("other"))?;
        t.set("/root/path", json!(t.bundle.join("other")))?;
        t.file("other/etc/mark", "here")?;
        t.prints("cat /etc/mark", "here")
    }),
    Case::must("root.absent_folder", "config.md Root: a directory MUST exist at the path", |t| {
        t.refuses("/root/path", json!("nowhere"), json!("rootfs"))
    }),
    Case::must("root.a_file", "config.md Root: a directory MUST exist at the path", |t| {
        t.file("file", "no folder")?;
        t.refuses("/root/path", json!("file"), json!("rootfs"))
    }),
    Case::must("root.required", "config.md Root: REQUIRED", |t| {
        t.control()?;
        t.remove("/root")?;
        t.refused(false)
    }),
    Case::must("root.readonly", "config.md Root: readonly", |t| {
        t.set("/root/readonly", json!(true))?;
        t.prints(
            "touch /etc/new 2>/dev/null || echo refused; touch /dev/shm/new && echo kept",
            "refused\nkept",
        )
    }),
    Case::must("root.writable", "config.md Root: readonly defaults to false", |t| {
        t.output("echo text >/etc/new")?;
        ensure!(fs::read_to_string(t.root("/etc/new"))?.trim() == "text", "the file is not in the root");
        Ok(())
    }),
    Case::must("root.nothing_else_is_seen", "config.md Root", |t| {
        let said = t.output("cut -d' ' -f5 /proc/self/mountinfo | sort -u; ls /")?;
        ensure!(!said.contains("bulkhead") && !said.contains("/home"), "the host's mounts are seen: {said}");
        ensure!(said.lines().any(|line| line == "/proc"), "{said}");
        Ok(())
    }),
    Case::must("mounts.in_order", "config.md Mounts: MUST be mounted in the listed order", |t| {
        t.mount("/mnt", "tmpfs", "first", &["size=64k"])?;
        t.mount("/mnt/in", "tmpfs", "second", &["size=96k"])?;
        t.mount("/mnt", "tmpfs", "third", &["size=128k"])?;
        t.prints("df -k /mnt | awk 'END { print $2 }'; test -e /mnt/in || echo hidden", "128\nhidden")
    }),
    Case::must("mounts.destination_is_made", MOUNTS, |t| {
        t.mount("/new/place/deep", "tmpfs", "tmpfs", &["mode=711"])?;
        t.prints("stat -c '%a %F' /new/place/deep", "711 directory")
    }),
    Case::must(
        "mounts.relative_destination",
        "config.md Mounts: a relative destination is relative to /",
        |t| {
            t.mount("mnt/relative", "tmpfs", "tmpfs", &["mode=711"])?;
            t.prints("stat -c %a /mnt/relative", "711")
        },
    ),
    Case::must("mounts.destination_required", "config.md Mounts: destination is REQUIRED", |t| {
        t.control()?;
        t.push("/mounts", json!({ "type": "tmpfs", "source": "tmpfs" }))?;
        t.refused(false)
    }),
    Case::must("mounts.tmpfs", MOUNTS, |t| {
        t.mount("/mnt", "tmpfs", "tmpfs", &["size=64k", "mode=1750", "uid=7", "gid=8"])?;
        t.prints(
            "stat -c '%a %u %g' /mnt; df -k /mnt | awk 'END { print $2 }'; dd if=/dev/zero of=/mnt/f bs=1k count=100 2>/dev/null || echo full",
            "1750 7 8\n64\nfull",
        )
    }),
    Case::must("mounts.proc", "config-linux.md Default filesystems: /proc", |t| {
        t.prints("stat -f -c %T /proc; echo $(cat /proc/1/comm)", "proc\nsh")
    }),
    Case::must("mounts.sysfs", "config-linux.md Default filesystems: /sys", |t| {
        t.prints("test -d /sys/kernel && grep -c ' /sys sysfs ro' /proc/mounts", "1")
    }),
    Case::must("mounts.devpts", "config-linux.md Default filesystems: /dev/pts", |t| {
        t.prints("grep ' /dev/pts ' /proc/mounts | grep -c 'devpts.*gid=5,mode=620,ptmxmode=666'", "1")
    }),
    Case::must("mounts.shm", "config-linux.md Default filesystems: /dev/shm", |t| {
        t.prints(
            "grep -c '^shm /dev/shm tmpfs rw,nosuid,nodev,noexec' /proc/mounts; stat -c %a /dev/shm",
            "1\n1777",
        )
    }),
    Case::must("mounts.mqueue", MOUNTS, |t| t.prints("grep -c ' /dev/mqueue mqueue ' /proc/mounts", "1")),
    Case::must("mounts.cgroup", MOUNTS, |t| {
        t.prints("grep -c ' /sys/fs/cgroup cgroup2 ro' /proc/mounts; test -e /sys/fs/cgroup/cgroup.procs && echo there", "1\nthere")
    }),
    Case::must("mounts.bind_folder", BIND, |t| {
        t.file("given/file", "from outside")?;
        let source = t.folder("given")?;
        t.mount("/mnt", "none", &source.display().to_string(), &["bind"])?;
        t.prints("cat /mnt/file; echo back >/mnt/answer", "from outside")?;
        ensure!(fs::read_to_string(source.join("answer"))?.trim() == "back", "the write did not arrive");
        Ok(())
    }),
    Case::must("mounts.bind_file", BIND, |t| {
        let source = t.file("given", "from outside")?;
        t.mount("/etc/deep/given", "", &source.display().to_string(), &["bind"])?;
        t.prints("cat /etc/deep/given", "from outside")
    }),
    Case::must("mounts.bind_file_over_file", BIND, |t| {
        let source = t.file("given", "from outside")?;
        t.file("rootfs/etc/given", "from inside")?;
        t.mount("/etc/given", "bind", &source.display().to_string(), &["rbind"])?;
        t.prints("cat /etc/given", "from outside")
    }),
    Case::must("mounts.bind_relative_source", "config.md Mounts: source is relative to the bundle", |t| {
        t.file("given/file", "from outside")?;
        t.mount("/mnt", "bind", "given", &["bind"])?;
        t.prints("cat /mnt/file", "from outside")
    }),
    Case::must(
        "mounts.bind_source_missing",
        "runtime.md Create: a property that cannot be applied is an error",
        |t| {
            t.folder("given")?;
            t.control()?;
            t.mount("/mnt", "bind", "nowhere", &["bind"])?;
            t.refused(false)
        },
    ),
    Case::must("mounts.bind_is_not_recursive", BIND, |t| {
        let source = t.folder("given/below")?;
        mount_tmpfs(&source)?;
        fs::write(source.join("file"), "below")?;
        t.mount("/mnt", "bind", "given", &["bind", "private"])?;
        t.prints("ls /mnt; ls /mnt/below", "below")
    }),
    Case::must("mounts.rbind_is_recursive", BIND, |t| {
        let source = t.folder("given/below")?;
        mount_tmpfs(&source)?;
        fs::write(source.join("file"), "below")?;
        t.mount("/mnt", "bind", "given", &["rbind", "rprivate"])?;
        t.prints("cat /mnt/below/file", "below")
    }),
    Case::must("mounts.bind_readonly", "config.md Mounts: ro on a bind", |t| {
        t.file("given/file", "from outside")?;
        t.mount("/mnt", "bind", "given", &["bind", "ro"])?;
        t.prints("cat /mnt/file; touch /mnt/new 2>/dev/null || echo refused", "from outsiderefused")
    }),
    Case::must("mounts.bind_keeps_flags", BIND, |t| {
        t.folder("given")?;
        t.mount("/mnt", "bind", "given", &["bind", "ro", "nosuid", "nodev", "noexec"])?;
        let said = t.output("grep ' /mnt ' /proc/self/mountinfo | cut -d' ' -f6")?;
        for flag in ["ro", "nosuid", "nodev", "noexec"] {
            ensure!(said.split(',').any(|have| have == flag), "{flag} is not in {said:?}");
        }
        Ok(())
    }),
    Case::must("mounts.overlay", MOUNTS, |t| {
        t.file("lower/file", "from below")?;
        let folders = [t.folder("lower")?, t.folder("upper")?, t.folder("work")?]
            .map(|path| path.display().to_string());
        let options = [
            format!("lowerdir={}", folders[0]),
            format!("upperdir={}", folders[1]),
            format!("workdir={}", folders[2]),
        ];
        t.mount("/mnt", "overlay", "overlay", &options.each_ref().map(String::as_str))?;
        t.prints("cat /mnt/file; echo new >/mnt/new", "from below")?;
        ensure!(
            t.bundle.join("upper/new").exists() && !t.bundle.join("lower/new").exists(),
            "the write is elsewhere"
        );
        Ok(())
    }),
    Case::must(
        "mounts.unknown_type",
        "runtime.md Create: a property that cannot be applied is an error",
        |t| {
            t.control()?;
            t.mount("/mnt", "harbourfs", "none", &[])?;
            t.refused(false)
        },
    ),
    Case::must(
        "mounts.unknown_option",
        "config.md Linux mount options: unknown ones go to the file system",
        |t| {
            t.control()?;
            t.mount("/mnt", "tmpfs", "tmpfs", &["harbour=north"])?;
            t.refused(false)
        },
    ),
    Case::must(
        "mounts.destination_through_a_link",
        "config.md Mounts: destination is a path inside the container",
        |t| {
            std::os::unix::fs::symlink("/var/real", t.root("/link"))?;
            fs::create_dir(t.root("/var/real"))?;
            t.mount("/link", "tmpfs", "tmpfs", &[])?;
            t.prints("grep -c ' /var/real tmpfs' /proc/mounts", "1")
        },
    ),
    Case::must("mounts.namespace_is_the_containers", MOUNTS, |t| {
        t.mount("/mnt", "tmpfs", "tmpfs", &[])?;
        t.launch("touch /mnt/inside; echo ready; sleep 1000")?;
        ensure!(!t.root("/mnt/inside").exists(), "the mount is seen outside");
        ensure!(t.proc_file("mountinfo")?.contains(" /mnt "), "the mount is not seen inside");
        Ok(())
    }),
];

/// Mounts a tmpfs outside; it is taken away with the bundle.
pub fn mount_tmpfs(place: &std::path::Path) -> anyhow::Result<()> {
    rustix::mount::mount("tmpfs", place, "tmpfs", rustix::mount::MountFlags::empty(), None)?;
    Ok(())
}
