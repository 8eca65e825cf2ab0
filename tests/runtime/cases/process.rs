//! config.md: Process, POSIX process, Linux Process.

use anyhow::ensure;
use serde_json::json;

use crate::case::Case;

const PROCESS: &str = "config.md Process";
const RLIMITS: &str = "config.md POSIX process: rlimits";
const LINUX: &str = "config.md Linux Process";

/// The field of `/proc/self/stat` that a number names, as proc(5) counts; there is no space in the name.
const STAT: &str = "field() { cut -d' ' -f$1 /proc/$$/stat; }";

/// The cases of this part.
pub const CASES: &[Case] = &[
    Case::must("process.cwd", "config.md Process: cwd", |t| {
        t.set("/process/cwd", json!("/tmp"))?;
        t.prints("pwd; readlink /proc/self/cwd", "/tmp\n/tmp")
    }),
    Case::must("process.cwd_relative", "config.md Process: cwd MUST be an absolute path", |t| {
        t.refuses("/process/cwd", json!("tmp"), json!("/tmp"))
    }),
    Case::must(
        "process.cwd_is_a_file",
        "runtime.md Create: a property that cannot be applied is an error",
        |t| t.refuses("/process/cwd", json!("/bin/busybox"), json!("/bin")),
    ),
    Case::must("process.env", "config.md Process: env", |t| {
        t.set("/process/env", json!(["PATH=/bin", "A=1", "EMPTY=", "TWO=a b=c"]))?;
        let said = t.output("env")?;
        for wanted in ["PATH=/bin", "A=1", "EMPTY=", "TWO=a b=c"] {
            ensure!(said.lines().any(|line| line == wanted), "{wanted} is not in {said:?}");
        }
        ensure!(!said.contains("TERM="), "more came in: {said:?}");
        Ok(())
    }),
    Case::must("process.env_of_the_runtime_stays_out", PROCESS, |t| {
        t.set("/process/env", json!(["PATH=/bin"]))?;
        let mut command = t.command(&["run", &t.id.clone()]);
        command.env("HARBOUR_SECRET", "yes");
        t.script("env")?;
        t.write_config()?;
        let errors = t.errors();
        let ran = crate::process::run_alone(command, &errors, t.deadline)?.ok("run")?;
        ensure!(!ran.stdout.contains("HARBOUR"), "{}", ran.stdout);
        ensure!(!ran.stdout.contains("TERM="), "more came in: {}", ran.stdout);
        Ok(())
    }),
    Case::must("process.args", "config.md Process: args, as execvp takes them", |t| {
        t.set(
            "/process/args",
            json!(["/bin/sh", "-c", "for a; do echo \"[$a]\"; done", "sh", "a b", "", "c\n*"]),
        )?;
        let ran = t.run()?.ok("run")?;
        ensure!(ran.stdout == "[a b]\n[]\n[c\n*]\n", "{:?}", ran.stdout);
        Ok(())
    }),
    Case::must("process.args_by_path", "config.md Process: args[0] is looked up in PATH", |t| {
        t.set("/process/env", json!(["PATH=/nowhere:/tmp/own:/bin"]))?;
        t.set("/process/args", json!(["mine"]))?;
        t.file("rootfs/tmp/own/mine", "#!/bin/sh\necho found $0\n")?;
        let ran = t.run()?.ok("run")?;
        ensure!(ran.stdout.trim() == "found /tmp/own/mine", "{:?}", ran.stdout);
        Ok(())
    }),
    Case::must("process.args_relative", "config.md Process: args[0] with a slash is relative to cwd", |t| {
        t.set("/process/cwd", json!("/tmp"))?;
        t.set("/process/args", json!(["./mine"]))?;
        t.file("rootfs/tmp/mine", "#!/bin/sh\necho here\n")?;
        let ran = t.run()?.ok("run")?;
        ensure!(ran.stdout.trim() == "here", "{:?}", ran.stdout);
        Ok(())
    }),
    Case::must("process.args_empty", "config.md Process: at least one entry of args is REQUIRED", |t| {
        t.refuses("/process/args", json!([]), json!(["/bin/true"]))
    }),
    Case::must(
        "process.args_missing_program",
        "runtime.md Start: MUST run the program, or it is an error",
        |t| t.refuses("/process/args", json!(["/bin/nothing"]), json!(["/bin/true"])),
    ),
    Case::must(
        "process.args_not_executable",
        "runtime.md Start: MUST run the program, or it is an error",
        |t| {
            std::fs::write(t.root("/tmp/data"), "no program")?;
            t.refuses("/process/args", json!(["/tmp/data"]), json!(["/bin/true"]))
        },
    ),
    Case::must("process.args_no_string", "config.md Valid values: an invalid value is an error", |t| {
        t.refuses("/process/args", json!(["/bin/true", 7]), json!(["/bin/true", "7"]))
    }),
    Case::must("process.no_terminal", "config.md Process: terminal defaults to false", |t| {
        t.prints("if tty >/dev/null; then echo terminal; else echo none; fi; test -e /dev/console || echo no console", "none\nno console")
    }),
    Case::must("process.exit_status", "runtime.md Lifecycle 10: the process exits", |t| {
        t.script("exit 7")?;
        let ran = t.run()?;
        ensure!(ran.status == 7, "run ends with {}", ran.status);
        Ok(())
    }),
    Case::cli("process.exit_by_signal", "runc's run: 128 + the signal", |t| {
        // Process 1 of a namespace does not die of its own signal; it has none of its own here.
        t.replace_namespace("pid", None)?;
        t.script("kill -TERM $$; sleep 10")?;
        let ran = t.run()?;
        ensure!(ran.status == 143, "run ends with {}", ran.status);
        Ok(())
    }),
    Case::must("process.rlimits", RLIMITS, |t| {
        let limits = json!([
            { "type": "RLIMIT_NOFILE", "soft": 77, "hard": 99 },
            { "type": "RLIMIT_CORE", "soft": 4096, "hard": 8192 },
            { "type": "RLIMIT_CPU", "soft": 120, "hard": 240 },
            { "type": "RLIMIT_FSIZE", "soft": 1048576, "hard": 2097152 },
            { "type": "RLIMIT_DATA", "soft": 67108864, "hard": 134217728 },
            { "type": "RLIMIT_STACK", "soft": 4194304, "hard": 8388608 },
        ]);
        t.set("/process/rlimits", limits)?;
        let said = t.output("cat /proc/self/limits")?;
        has_limit(&said, "Max open files", "77", "99")?;
        has_limit(&said, "Max core file size", "4096", "8192")?;
        has_limit(&said, "Max cpu time", "120", "240")?;
        has_limit(&said, "Max file size", "1048576", "2097152")?;
        has_limit(&said, "Max data size", "67108864", "134217728")?;
        has_limit(&said, "Max stack size", "4194304", "8388608")
    }),
    Case::must("process.rlimits_more", RLIMITS, |t| {
        let limits = json!([
            { "type": "RLIMIT_NPROC", "soft": 1000, "hard": 2000 },
            { "type": "RLIMIT_MEMLOCK", "soft": 65536, "hard": 131072 },
            { "type": "RLIMIT_AS", "soft": 536870912, "hard": 1073741824 },
            { "type": "RLIMIT_LOCKS", "soft": 10, "hard": 20 },
            { "type": "RLIMIT_SIGPENDING", "soft": 11, "hard": 22 },
            { "type": "RLIMIT_MSGQUEUE", "soft": 12, "hard": 24 },
            { "type": "RLIMIT_NICE", "soft": 13, "hard": 26 },
            { "type": "RLIMIT_RTPRIO", "soft": 14, "hard": 28 },
            { "type": "RLIMIT_RTTIME", "soft": 1500000, "hard": 3000000 },
            { "type": "RLIMIT_RSS", "soft": 16777216, "hard": 33554432 },
        ]);
        t.set("/process/rlimits", limits)?;
        let said = t.output("cat /proc/self/limits")?;
        has_limit(&said, "Max processes", "1000", "2000")?;
        has_limit(&said, "Max locked memory", "65536", "131072")?;
        has_limit(&said, "Max address space", "536870912", "1073741824")?;
        has_limit(&said, "Max file locks", "10", "20")?;
        has_limit(&said, "Max pending signals", "11", "22")?;
        has_limit(&said, "Max msgqueue size", "12", "24")?;
        has_limit(&said, "Max nice priority", "13", "26")?;
        has_limit(&said, "Max realtime priority", "14", "28")?;
        has_limit(&said, "Max realtime timeout", "1500000", "3000000")?;
        has_limit(&said, "Max resident set", "16777216", "33554432")
    }),
    Case::must("process.rlimit_infinite", RLIMITS, |t| {
        t.set("/process/rlimits", json!([{ "type": "RLIMIT_STACK", "soft": 1048576, "hard": u64::MAX }]))?;
        has_limit(&t.output("cat /proc/self/limits")?, "Max stack size", "1048576", "unlimited")
    }),
    Case::must(
        "process.rlimit_unknown",
        "config.md POSIX process: a type that maps to nothing is an error",
        |t| {
            let limit = |kind: &str| json!([{ "type": kind, "soft": 10, "hard": 10 }]);
            t.refuses("/process/rlimits", limit("RLIMIT_HARBOUR"), limit("RLIMIT_LOCKS"))
        },
    ),
    Case::must("process.rlimit_twice", "config.md POSIX process: duplicated entries are an error", |t| {
        let limit = json!({ "type": "RLIMIT_LOCKS", "soft": 10, "hard": 10 });
        t.refuses("/process/rlimits", json!([limit, limit]), json!([limit]))
    }),
    Case::must(
        "process.rlimit_soft_above_hard",
        "runtime.md Create: a property that cannot be applied is an error",
        |t| {
            let limit = |soft: u32| json!([{ "type": "RLIMIT_LOCKS", "soft": soft, "hard": 10 }]);
            t.refuses("/process/rlimits", limit(11), limit(10))
        },
    ),
    Case::must("process.no_new_privileges", LINUX, |t| {
        t.set("/process/noNewPrivileges", json!(false))?;
        t.prints("grep NoNewPrivs /proc/self/status | tr -d '\\t'", "NoNewPrivs:0")
    }),
    Case::must("process.new_privileges_by_default", LINUX, |t| {
        t.remove("/process/noNewPrivileges")?;
        t.prints("grep NoNewPrivs /proc/self/status | tr -d '\\t'", "NoNewPrivs:0")
    }),
    Case::must("process.set_user_id_has_no_effect", "config.md Linux Process: noNewPrivileges", |t| {
        t.set("/process/user", json!({ "uid": 1000, "gid": 1000 }))?;
        std::fs::remove_file(t.root("/bin/id"))?;
        std::fs::copy("/usr/bin/busybox", t.root("/bin/id"))?;
        std::fs::set_permissions(t.root("/bin/id"), std::os::unix::fs::PermissionsExt::from_mode(0o4755))?;
        t.prints("id -u", "1000")
    }),
    Case::must("process.oom_score_adj", LINUX, |t| {
        t.set("/process/oomScoreAdj", json!(321))?;
        t.prints("cat /proc/self/oom_score_adj", "321")
    }),
    Case::must(
        "process.oom_score_adj_unset",
        "config.md Linux Process: oomScoreAdj not set is not changed",
        |t| {
            let own = std::fs::read_to_string("/proc/self/oom_score_adj")?;
            t.prints("cat /proc/self/oom_score_adj", own.trim())
        },
    ),
    Case::must(
        "process.oom_score_adj_invalid",
        "config.md Valid values: an invalid value is an error",
        |t| t.refuses("/process/oomScoreAdj", json!(1001), json!(1000)),
    ),
    Case::must(
        "process.apparmor_unknown_profile",
        "config.md Linux Process: apparmorProfile that cannot be applied",
        |t| {
            t.control()?;
            t.set("/process/apparmorProfile", json!("no-such-profile"))?;
            t.refused(true)
        },
    ),
    Case::must(
        "process.selinux_label_without_selinux",
        "config.md Linux Process: selinuxLabel that cannot be applied",
        |t| {
            t.control()?;
            t.set("/process/selinuxLabel", json!("system_u:system_r:svirt_lxc_net_t:s0:c124,c675"))?;
            t.refused(true)
        },
    ),
    Case::must("process.scheduler_fifo", "config.md Linux Process: scheduler", |t| {
        t.set("/process/scheduler", json!({ "policy": "SCHED_FIFO", "priority": 9 }))?;
        t.prints(&format!("{STAT}; field 41; field 40"), "1\n9")
    }),
    Case::must("process.scheduler_batch", "config.md Linux Process: scheduler", |t| {
        t.set("/process/scheduler", json!({ "policy": "SCHED_BATCH", "nice": 11 }))?;
        t.prints(&format!("{STAT}; field 41; field 19"), "3\n11")
    }),
    Case::must("process.scheduler_idle", "config.md Linux Process: scheduler", |t| {
        t.set("/process/scheduler", json!({ "policy": "SCHED_IDLE" }))?;
        t.prints(&format!("{STAT}; field 41"), "5")
    }),
    Case::must("process.scheduler_flag", "config.md Linux Process: scheduler flags", |t| {
        let scheduler = json!({ "policy": "SCHED_RR", "priority": 3, "flags": ["SCHED_FLAG_RESET_ON_FORK"] });
        t.set("/process/scheduler", scheduler)?;
        // What the shell starts is back to the ordinary policy.
        t.prints(&format!("{STAT}; field 41; cut -d' ' -f41 /proc/self/stat; true"), "2\n0")
    }),
    Case::must(
        "process.scheduler_unknown_policy",
        "config.md Linux Process: a policy that is none is an error",
        |t| {
            t.refuses(
                "/process/scheduler",
                json!({ "policy": "SCHED_HARBOUR" }),
                json!({ "policy": "SCHED_BATCH" }),
            )
        },
    ),
    Case::must("process.io_priority", "config.md Linux Process: ioPriority", |t| {
        t.set("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_BE", "priority": 6 }))?;
        t.prints("ionice -p $$", "best-effort: prio 6")
    }),
    Case::must("process.io_priority_idle", "config.md Linux Process: ioPriority", |t| {
        t.set("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_IDLE", "priority": 0 }))?;
        let said = t.output("ionice -p $$")?;
        ensure!(said.starts_with("idle"), "it says {said:?}");
        Ok(())
    }),
    Case::must(
        "process.io_priority_unknown_class",
        "config.md Linux Process: a class that is none is an error",
        |t| {
            let priority = |class: &str| json!({ "class": class, "priority": 5 });
            t.refuses("/process/ioPriority", priority("IOPRIO_CLASS_HARBOUR"), priority("IOPRIO_CLASS_BE"))
        },
    ),
];

fn has_limit(table: &str, name: &str, soft: &str, hard: &str) -> anyhow::Result<()> {
    let line = table.lines().find(|line| line.starts_with(name));
    let values =
        line.map(|line| line.trim_start_matches(name).split_whitespace().take(2).collect::<Vec<_>>());
    ensure!(values == Some(vec![soft, hard]), "{name} is {values:?} and not {soft} {hard}");
    Ok(())
}
