//! Flaws that were published of other runtimes, each tried on this one (shared/security-cases.md, "In-guest container
//! runtime").

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use rustix::fs::{CWD, RenameFlags};
use serde_json::json;

use super::cli::exec;
use crate::case::Case;
use crate::process::{Reader, wait_readable};
use crate::trial::Trial;

/// What tries to write to the program behind any process that it sees, and to its own.
const OVERWRITE: &str = "for p in /proc/[0-9]*; do \
    case $(readlink $p/exe) in */busybox) continue;; esac; \
    (exec 7<$p/exe; for i in 1 2 3 4 5; do echo overwritten >/proc/self/fd/7; done); done 2>/dev/null";

/// The cases of this part.
pub const CASES: &[Case] = &[
    Case::safe("safe.entry_point_is_the_runtime", "CVE-2019-5736: #!/proc/self/exe", |t| {
        let before = digest(t)?;
        t.file("rootfs/bin/entry", "#!/proc/self/exe\n")?;
        t.set("/process/args", json!(["/bin/entry"]))?;
        let _ = t.run()?;
        ensure!(digest(t)? == before, "the runtime's program has changed");
        Ok(())
    }),
    Case::safe("safe.exec_of_proc_self_exe", "CVE-2019-5736: exec /proc/self/exe", |t| {
        let before = digest(t)?;
        let script = format!("set +e; echo ready; while :; do {OVERWRITE}; done");
        t.launch(&script)?;
        for _ in 0..3 {
            let _ = exec(t, &[], &["/proc/self/exe", "--version"])?;
        }
        t.is("running")?;
        ensure!(digest(t)? == before, "the runtime's program has changed");
        Ok(())
    }),
    Case::safe("safe.init_before_start", "CVE-2019-5736: the process that waits for start", |t| {
        let before = digest(t)?;
        t.create()?;
        // From outside, as root: not even then may it be the runtime's own file that can be written.
        let exe = format!("/proc/{}/exe", t.init()?);
        let written = fs::OpenOptions::new().write(true).open(&exe);
        ensure!(written.is_err() || fs::metadata(&exe)?.nlink_is_none(), "{exe} can be written");
        ensure!(digest(t)? == before, "the runtime's program has changed");
        Ok(())
    }),
    Case::safe(
        "safe.descriptors_of_the_program",
        "CVE-2016-9962, CVE-2024-21626: only 0, 1 and 2 are open",
        |t| t.prints("ls /proc/$$/fd; echo; ls /proc/1/fd; true", "0\n1\n2\n\n0\n1\n2"),
    ),
    Case::safe("safe.descriptors_of_exec", "CVE-2024-21626: only 0, 1 and 2 are open", |t| {
        t.launch("echo ready; sleep 1000")?;
        let ran = exec(t, &[], &["/bin/sh", "-c", "ls /proc/$$/fd; true"])?.ok("exec")?;
        ensure!(ran.stdout == "0\n1\n2\n", "{:?}", ran.stdout);
        Ok(())
    }),
    Case::safe(
        "safe.descriptors_of_the_caller",
        "CVE-2024-21626: what the engine left open does not come in",
        |t| {
            t.script("ls /proc/$$/fd; true")?;
            t.write_config()?;
            let command = t.command(&["run", &t.id.clone()]);
            let mut shell = Command::new("sh");
            shell.current_dir(&t.bundle).args(["-c", "exec 3</ 5</etc 9</etc/passwd; exec \"$@\"", "sh"]);
            shell.arg(command.get_program()).args(command.get_args());
            let errors = t.errors();
            let ran = crate::process::run_alone(shell, &errors, t.deadline)?.ok("run")?;
            ensure!(ran.stdout == "0\n1\n2\n", "{:?}", ran.stdout);
            Ok(())
        },
    ),
    Case::safe("safe.cwd_through_a_descriptor", "CVE-2024-21626: cwd /proc/self/fd/N", |t| {
        for number in 3..12 {
            t.set("/process/cwd", json!(format!("/proc/self/fd/{number}")))?;
            t.script(
                "readlink /proc/self/cwd; ls ../../../../bulkhead ../../../../var/lib/dpkg 2>/dev/null",
            )?;
            let ran = t.run()?;
            ensure!(ran.status != 0 && ran.stdout.trim().is_empty(), "{number}: it runs in {:?}", ran.stdout);
        }
        Ok(())
    }),
    Case::safe("safe.exec_cwd_through_a_descriptor", "CVE-2024-21626: exec --cwd /proc/self/fd/N", |t| {
        t.launch("echo ready; sleep 1000")?;
        for number in 3..10 {
            let cwd = format!("/proc/self/fd/{number}");
            let ran = exec(t, &["--cwd", &cwd], &["/bin/sh", "-c", "readlink /proc/self/cwd; echo in"])?;
            ensure!(ran.status != 0, "{number}: it runs in {:?}", ran.stdout);
        }
        Ok(())
    }),
    Case::safe("safe.proc_is_a_link", "CVE-2019-19921, CVE-2025-54867: /proc as a symbolic link", |t| {
        t.control()?;
        mount_point_is_a_link(t, "/proc")
    }),
    Case::safe("safe.sys_is_a_link", "CVE-2019-19921, CVE-2023-28642: /sys as a symbolic link", |t| {
        t.control()?;
        mount_point_is_a_link(t, "/sys")
    }),
    Case::safe(
        "safe.target_leads_out",
        "CVE-2019-16884: a mount's target through a link out of the root",
        |t| {
            let outside = t.folder("outside")?;
            symlink(&outside, t.root("/absolute"))?;
            symlink(
                "../../../../../../../../../..".to_owned() + &outside.display().to_string(),
                t.root("/relative"),
            )?;
            t.mount("/absolute/new", "tmpfs", "tmpfs", &[])?;
            t.mount("/relative/new", "tmpfs", "tmpfs", &[])?;
            let _ = t.run()?;
            ensure!(fs::read_dir(&outside)?.next().is_none(), "a folder was made outside of the root");
            ensure!(
                !fs::read_to_string("/proc/self/mountinfo")?.contains("outside/new"),
                "something is mounted outside"
            );
            Ok(())
        },
    ),
    Case::safe(
        "safe.target_is_exchanged",
        "CVE-2021-30465, CVE-2024-45310: a target that becomes a link meanwhile",
        exchanged,
    ),
    Case::safe("safe.device_through_a_link", "CVE-2025-52565: a device's path through a link", |t| {
        let outside = t.folder("outside")?;
        symlink(&outside, t.root("/var/link"))?;
        t.push("/linux/devices", json!({ "path": "/var/link/made", "type": "c", "major": 1, "minor": 3 }))?;
        let _ = t.run()?;
        ensure!(fs::read_dir(&outside)?.next().is_none(), "a device was made outside of the root");
        Ok(())
    }),
    Case::safe("safe.null_is_a_fake", "CVE-2025-31133: masked paths with a /dev/null of the image's", |t| {
        t.file("rootfs/etc/secret", "hidden")?;
        t.set("/linux/maskedPaths", json!(["/etc/secret"]))?;
        for place in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
            t.unmount(place)?;
        }
        // What a mask is bound from, when a runtime takes /dev/null for granted: a kernel file that can be written.
        symlink("/proc/sys/kernel/core_pattern", t.root("/dev/null"))?;
        let before = fs::read_to_string("/proc/sys/kernel/core_pattern")?;
        t.script("cat /etc/secret; echo '|/evil' >/etc/secret")?;
        let ran = t.run()?;
        let after = fs::read_to_string("/proc/sys/kernel/core_pattern")?;
        let _ = fs::write("/proc/sys/kernel/core_pattern", &before);
        ensure!(after == before, "the kernel's core_pattern was written");
        ensure!(!ran.stdout.contains("core") && !ran.stdout.contains("hidden"), "it reads {:?}", ran.stdout);
        Ok(())
    }),
    Case::safe("safe.console_is_a_link", "CVE-2025-52565: /dev/console bound through a link", |t| {
        for place in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
            t.unmount(place)?;
        }
        symlink("/proc/sysrq-trigger", t.root("/dev/console"))?;
        t.set("/process/terminal", json!(true))?;
        let receiver = crate::terminal::Receiver::new(&t.bundle.join("console"))?;
        t.script("mount; sleep 1000")?;
        let ran = t.create_with(&["--console-socket", &receiver.path.display().to_string()])?;
        if ran.status == 0 {
            let mounts = t.proc_file("mountinfo")?;
            ensure!(!mounts.contains(" /proc/sysrq-trigger "), "the terminal is bound over {mounts}");
        }
        Ok(())
    }),
    Case::safe(
        "safe.exec_has_no_inheritable",
        "CVE-2022-29162, CVE-2025-27612: CapInh and CapAmb of exec are empty",
        |t| {
            t.capable(&["CAP_CHOWN", "CAP_KILL"])?;
            t.launch("echo ready; sleep 1000")?;
            let ran = exec(
                t,
                &[],
                &["/bin/sh", "-c", "grep -E 'Cap(Inh|Amb|Eff)' /proc/self/status | tr -d '\\t'"],
            )?
            .ok("exec")?;
            ensure!(
                ran.stdout == "CapInh:0000000000000000\nCapEff:0000000000000021\nCapAmb:0000000000000000\n",
                "{:?}",
                ran.stdout
            );
            Ok(())
        },
    ),
    Case::safe("safe.exec_with_cap", "CVE-2022-29162: exec --cap raises no inheritable ones", |t| {
        t.launch("echo ready; sleep 1000")?;
        let ran = exec(
            t,
            &["--cap", "CAP_NET_RAW"],
            &["/bin/sh", "-c", "grep -E 'CapInh' /proc/self/status | tr -d '\\t'"],
        )?
        .ok("exec")?;
        ensure!(ran.stdout.trim() == "CapInh:0000000000000000", "{:?}", ran.stdout);
        Ok(())
    }),
    Case::safe("safe.long_path", "CVE-2021-43784: a bind path of more than 64 KiB", |t| {
        t.control()?;
        let long = format!("/mnt/{}", "a/".repeat(33_000));
        t.folder("given")?;
        t.mount(&long, "bind", "given", &["bind"])?;
        let ran = t.try_create()?;
        ensure!(ran.status != 0, "a path that is longer than any can be is accepted");
        t.is_gone()
    }),
    Case::safe("safe.cgroup_is_readonly", "CVE-2023-25809: /sys/fs/cgroup cannot be written", |t| {
        t.set("/linux/resources/pids", json!({ "limit": 99 }))?;
        t.prints("cat /sys/fs/cgroup/pids.max; echo max 2>/dev/null >/sys/fs/cgroup/pids.max || echo refused; mkdir /sys/fs/cgroup/x 2>/dev/null || echo refused", "99\nrefused\nrefused")
    }),
    Case::safe(
        "safe.output_without_a_reader",
        "CVE-2022-31030: what exec writes without end is not kept",
        floods,
    ),
    Case::safe(
        "safe.no_host_process_is_seen",
        "CVE-2016-9962: the runtime's process cannot be traced from within",
        |t| {
            t.capable(&["CAP_SYS_PTRACE"])?;
            t.prints("for p in /proc/[0-9]*; do readlink $p/exe; done | sort -u | grep -v '^/bin/busybox$' || echo none", "none")
        },
    ),
];

/// Whether a file is in no folder: a copy in memory.
trait Linked {
    fn nlink_is_none(&self) -> bool;
}

impl Linked for fs::Metadata {
    fn nlink_is_none(&self) -> bool {
        std::os::unix::fs::MetadataExt::nlink(self) == 0
    }
}

/// The runtime's program, by what is in it.
fn digest(t: &Trial<'_>) -> Result<Vec<u8>> {
    let command = t.command(&[]);
    fs::read(command.get_program()).context("Cannot read the runtime's program")
}

/// A root whose `/proc` or `/sys` leads elsewhere: the container is refused, or has a real one.
fn mount_point_is_a_link(t: &mut Trial<'_>, place: &str) -> Result<()> {
    let elsewhere = t.root("/tmp/elsewhere");
    fs::create_dir(&elsewhere)?;
    fs::remove_dir(t.root(place))?;
    symlink("/tmp/elsewhere", t.root(place))?;
    t.script("grep ' /tmp/elsewhere ' /proc/mounts || cat /tmp/elsewhere/mounts; echo ran")?;
    let ran = t.run()?;
    ensure!(
        ran.status != 0 || !ran.stdout.contains("elsewhere"),
        "it is mounted where the link leads: {}",
        ran.stdout
    );
    Ok(())
}

/// Two folders of a volume, one a link out of the root, change places as fast as they can while containers that mount
/// on one of them are created.
fn exchanged(t: &mut Trial<'_>) -> Result<()> {
    let outside = t.folder("outside/target")?;
    let volume = t.folder("rootfs/var/volume")?;
    fs::create_dir(volume.join("here"))?;
    symlink(t.folder("outside")?, volume.join("there"))?;
    t.mount("/var/volume/here/target", "tmpfs", "harbour-exchanged", &[])?;
    t.script("true")?;
    let ended = AtomicBool::new(false);
    let tried = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                let _ = rustix::fs::renameat_with(
                    CWD,
                    volume.join("here"),
                    CWD,
                    volume.join("there"),
                    RenameFlags::EXCHANGE,
                );
            }
        });
        let tried = (0..6).try_for_each(|_| {
            let ran = t.try_create()?;
            if ran.status == 0 {
                let mounts = t.proc_file("mountinfo")?;
                let line = mounts.lines().find(|line| line.contains("harbour-exchanged"));
                ensure!(line.is_some_and(|line| line.contains(" /var/volume/")), "it is mounted at {line:?}");
            }
            let _ = t.type_command(&["delete", "--force", &t.id.clone()])?;
            Ok(())
        });
        ended.store(true, Ordering::Relaxed);
        tried
    });
    tried?;
    ensure!(
        !fs::read_to_string("/proc/self/mountinfo")?.contains("harbour-exchanged"),
        "something is mounted outside"
    );
    ensure!(fs::read_dir(&outside)?.next().is_none(), "something was made outside of the root");
    Ok(())
}

/// An `exec` whose output nobody reads does not grow.
fn floods(t: &mut Trial<'_>) -> Result<()> {
    t.launch("echo ready; sleep 1000")?;
    let (reader, writer) = Reader::pair()?;
    let mut command = t.command(&["exec", &t.id.clone(), "/bin/sh", "-c", "yes"]);
    command.stdin(std::process::Stdio::null()).stdout(writer);
    let mut child = command.spawn().context("Cannot start the runtime")?;
    drop(command);
    // The pipe is full soon after it has something to read; the runtime's own memory is looked at then.
    let looked = wait_readable(&[reader.descriptor()], t.deadline).and_then(|()| {
        let mut largest = 0;
        for _ in 0..200 {
            largest = largest.max(resident(child.id())?);
            std::thread::yield_now();
        }
        Ok(largest)
    });
    let _ = child.kill();
    let _ = child.wait();
    let kib = looked?;
    ensure!(kib < 40_000, "the runtime takes {kib} KiB");
    Ok(())
}

/// What a process takes, in KiB.
fn resident(process: u32) -> Result<u64> {
    let text = fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse().context("VmRSS is no number")
}
