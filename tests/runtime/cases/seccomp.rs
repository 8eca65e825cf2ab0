//! config-linux.md: Seccomp.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::case::Case;
use crate::terminal::Receiver;
use crate::trial::Trial;

const ACTION: &str = "config-linux.md Seccomp: actions";
const OPERATOR: &str = "config-linux.md Seccomp: args";
const INVALID: &str = "config.md Valid values: an invalid value is an error";

/// SIGUSR1 and its neighbours, as kill(2) takes them; the shell ignores all of them.
const KILLS: &str = "trap '' USR1 USR2 SEGV PIPE; k() { kill -$1 $$ 2>/dev/null && echo $1 || echo no $1; }";

/// The cases of this part.
pub const CASES: &[Case] = &[
    Case::must("seccomp.errno", "config-linux.md Seccomp: errnoRet defaults to EPERM", |t| {
        refuse(t, &["mkdir", "mkdirat"], json!({ "action": "SCMP_ACT_ERRNO" }))?;
        t.prints("mkdir /tmp/d 2>&1 | grep -o 'Operation not permitted'; grep Seccomp: /proc/self/status | tr -d '\\t'", "Operation not permitted\nSeccomp:2")
    }),
    Case::must("seccomp.errno_ret", "config-linux.md Seccomp: errnoRet", |t| {
        refuse(t, &["mkdir", "mkdirat"], json!({ "action": "SCMP_ACT_ERRNO", "errnoRet": 28 }))?;
        t.prints("mkdir /tmp/d 2>&1 | grep -o 'No space left'", "No space left")
    }),
    Case::must("seccomp.default_errno", "config-linux.md Seccomp: defaultAction", |t| {
        t.set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [allowed()] }))?;
        t.prints(
            "echo here; mkdir /tmp/d 2>&1 | grep -o 'Operation not permitted'",
            "here\nOperation not permitted",
        )
    }),
    Case::must("seccomp.default_errno_ret", "config-linux.md Seccomp: defaultErrnoRet", |t| {
        t.set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 28, "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [allowed()] }))?;
        t.prints("mkdir /tmp/d 2>&1 | grep -o 'No space left'", "No space left")
    }),
    Case::must("seccomp.kill_process", ACTION, |t| dies(t, "SCMP_ACT_KILL_PROCESS", 159)),
    Case::must("seccomp.kill_thread", ACTION, |t| dies(t, "SCMP_ACT_KILL_THREAD", 159)),
    Case::must("seccomp.kill", ACTION, |t| dies(t, "SCMP_ACT_KILL", 159)),
    Case::must("seccomp.trap", ACTION, |t| dies(t, "SCMP_ACT_TRAP", 159)),
    Case::must("seccomp.trace", "config-linux.md Seccomp: without a tracer ENOSYS", |t| {
        refuse(t, &["mkdir", "mkdirat"], json!({ "action": "SCMP_ACT_TRACE", "errnoRet": 1 }))?;
        t.prints("mkdir /tmp/d 2>&1 | grep -o 'not implemented'", "not implemented")
    }),
    Case::must("seccomp.log", ACTION, |t| {
        refuse(t, &["mkdir", "mkdirat"], json!({ "action": "SCMP_ACT_LOG" }))?;
        t.prints(
            "mkdir /tmp/d && echo made; grep Seccomp: /proc/self/status | tr -d '\\t'",
            "made\nSeccomp:2",
        )
    }),
    Case::must(
        "seccomp.notify",
        "config-linux.md The container process state: sent over listenerPath",
        notifies,
    ),
    Case::must("seccomp.equal", OPERATOR, |t| {
        compares(t, &json!([{ "index": 1, "value": 11, "op": "SCMP_CMP_EQ" }]), "10 no 11 12 13")
    }),
    Case::must("seccomp.not_equal", OPERATOR, |t| {
        compares(t, &json!([{ "index": 1, "value": 11, "op": "SCMP_CMP_NE" }]), "no 10 11 no 12 no 13")
    }),
    Case::must("seccomp.less", OPERATOR, |t| {
        compares(t, &json!([{ "index": 1, "value": 11, "op": "SCMP_CMP_LT" }]), "no 10 11 12 13")
    }),
    Case::must("seccomp.less_or_equal", OPERATOR, |t| {
        compares(t, &json!([{ "index": 1, "value": 11, "op": "SCMP_CMP_LE" }]), "no 10 no 11 12 13")
    }),
    Case::must("seccomp.greater", OPERATOR, |t| {
        compares(t, &json!([{ "index": 1, "value": 11, "op": "SCMP_CMP_GT" }]), "10 11 no 12 no 13")
    }),
    Case::must("seccomp.greater_or_equal", OPERATOR, |t| {
        compares(t, &json!([{ "index": 1, "value": 11, "op": "SCMP_CMP_GE" }]), "10 no 11 no 12 no 13")
    }),
    Case::must("seccomp.masked_equal", "config-linux.md Seccomp: args, valueTwo", |t| {
        compares(
            t,
            &json!([{ "index": 1, "value": 5, "valueTwo": 13, "op": "SCMP_CMP_MASKED_EQ" }]),
            "10 11 12 no 13",
        )
        .or_else(|_| {
            // 13 & 13 = 13, 12 & 13 = 12, 10 & 13 = 8, 11 & 13 = 9: with the mask first and then the value.
            compares(
                t,
                &json!([{ "index": 1, "value": 13, "valueTwo": 9, "op": "SCMP_CMP_MASKED_EQ" }]),
                "10 no 11 12 13",
            )
        })
    }),
    Case::must("seccomp.all_arguments_have_to_match", OPERATOR, |t| {
        compares(
            t,
            &json!([
                { "index": 1, "value": 11, "op": "SCMP_CMP_GE" },
                { "index": 0, "value": 4711, "op": "SCMP_CMP_NE" },
            ]),
            "10 no 11 no 12 no 13",
        )
    }),
    Case::should(
        "seccomp.one_argument_twice",
        "config-linux.md Seccomp: several args of one index (libseccomp takes one each)",
        |t| {
            compares(
                t,
                &json!([
                    { "index": 1, "value": 10, "op": "SCMP_CMP_EQ" },
                    { "index": 1, "value": 12, "op": "SCMP_CMP_EQ" },
                ]),
                "no 10 11 no 12 13",
            )
        },
    ),
    Case::must("seccomp.two_rules", "config-linux.md Seccomp: several entries of one call", |t| {
        let rule = |value: u32| json!({ "names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [{ "index": 1, "value": value, "op": "SCMP_CMP_EQ" }] });
        t.set(
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule(10), rule(12)] }),
        )?;
        signals(t, "no 10 11 no 12 13")
    }),
    Case::must("seccomp.wide_value", "config-linux.md Seccomp: value is uint64", |t| {
        // 2^32 + 11 is not 11: both halves are compared.
        compares(
            t,
            &json!([{ "index": 1, "value": 4_294_967_307_u64, "op": "SCMP_CMP_LT" }]),
            "no 10 no 11 no 12 no 13",
        )
    }),
    Case::must("seccomp.foreign_architecture_is_accepted", "config-linux.md Seccomp: architectures", |t| {
        t.set(
            "/linux/seccomp",
            json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
                "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" }],
            }),
        )?;
        t.prints("mkdir /tmp/d 2>/dev/null || echo refused", "refused")
    }),
    Case::must("seccomp.unknown_call_is_ignored", "config-linux.md Seccomp: names the kernel has not", |t| {
        refuse(t, &["harbour_call", "mkdir", "mkdirat"], json!({ "action": "SCMP_ACT_ERRNO" }))?;
        t.prints("mkdir /tmp/d 2>/dev/null || echo refused", "refused")
    }),
    Case::must("seccomp.with_new_privileges", "config-linux.md Seccomp", |t| {
        t.set("/process/noNewPrivileges", json!(false))?;
        refuse(t, &["mkdir", "mkdirat"], json!({ "action": "SCMP_ACT_ERRNO" }))?;
        t.prints("mkdir /tmp/d 2>/dev/null || echo refused; grep -E 'NoNew|Seccomp:' /proc/self/status | tr -d '\\t'", "refused\nNoNewPrivs:0\nSeccomp:2")
    }),
    Case::must("seccomp.flag", "config-linux.md Seccomp: flags", |t| {
        refuse(t, &["mkdir", "mkdirat"], json!({ "action": "SCMP_ACT_ERRNO" }))?;
        t.set("/linux/seccomp/flags", json!(["SECCOMP_FILTER_FLAG_LOG"]))?;
        t.prints("mkdir /tmp/d 2>/dev/null || echo refused", "refused")
    }),
    Case::must("seccomp.unknown_flag", INVALID, |t| {
        invalid(t, "flags", json!(["SECCOMP_FILTER_FLAG_HARBOUR"]), json!(["SECCOMP_FILTER_FLAG_LOG"]))
    }),
    Case::must("seccomp.unknown_architecture", INVALID, |t| {
        invalid(t, "architectures", json!(["SCMP_ARCH_HARBOUR"]), json!(["SCMP_ARCH_X86_64"]))
    }),
    Case::must("seccomp.unknown_default", INVALID, |t| {
        invalid(t, "defaultAction", json!("SCMP_ACT_HARBOUR"), json!("SCMP_ACT_ALLOW"))
    }),
    Case::must("seccomp.unknown_action", INVALID, |t| {
        let rule = |action: &str| json!([{ "names": ["mkdir"], "action": action }]);
        invalid(t, "syscalls", rule("SCMP_ACT_HARBOUR"), rule("SCMP_ACT_ERRNO"))
    }),
    Case::must("seccomp.unknown_operator", INVALID, |t| {
        let rule = |op: &str| json!([{ "names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [{ "index": 1, "value": 1, "op": op }] }]);
        invalid(t, "syscalls", rule("SCMP_CMP_HARBOUR"), rule("SCMP_CMP_EQ"))
    }),
    Case::must("seccomp.argument_out_of_range", INVALID, |t| {
        let rule = |index: u32| json!([{ "names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [{ "index": index, "value": 1, "op": "SCMP_CMP_EQ" }] }]);
        invalid(t, "syscalls", rule(6), rule(5))
    }),
    Case::must(
        "seccomp.errno_for_an_action_without",
        "config-linux.md Seccomp: errnoRet that an action does not support is an error",
        |t| {
            let rule = |action: &str| json!([{ "names": ["mkdir"], "action": action, "errnoRet": 5 }]);
            invalid(t, "syscalls", rule("SCMP_ACT_KILL"), rule("SCMP_ACT_ERRNO"))
        },
    ),
];

/// What a small shell needs.
fn allowed() -> Value {
    json!({
        "action": "SCMP_ACT_ALLOW",
        "names": ["access", "arch_prctl", "brk", "capget", "capset", "chdir", "clone", "clone3", "close", "close_range", "dup",
            "dup2", "dup3", "execve", "execveat", "exit", "exit_group", "faccessat", "faccessat2", "fchdir", "fcntl", "fork", "fstat",
            "fstatfs", "futex", "getcwd", "getdents64", "getegid", "geteuid", "getgid", "getpid", "getppid", "getrandom",
            "gettid", "getuid", "ioctl", "lseek", "lstat", "madvise", "mmap", "mprotect", "mremap", "munmap", "nanosleep",
            "newfstatat", "open", "openat", "openat2", "pipe", "pipe2", "poll", "prctl", "pread64", "prlimit64", "read", "readlink",
            "rseq", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sched_getaffinity", "sched_yield", "set_robust_list",
            "set_tid_address", "setgid", "setgroups", "setsid", "setuid", "sigaltstack", "stat", "statx", "uname", "umask",
            "vfork", "wait4", "waitid", "write", "writev", "epoll_create1", "epoll_ctl", "epoll_pwait", "eventfd2", "tgkill",
            "getpgrp", "setresuid", "setresgid", "sendmsg", "recvmsg", "sendto", "recvfrom"],
    })
}

fn refuse(t: &mut Trial<'_>, names: &[&str], mut rule: Value) -> Result<()> {
    rule["names"] = json!(names);
    t.set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] }))
}

fn invalid(t: &mut Trial<'_>, field: &str, bad: Value, good: Value) -> Result<()> {
    refuse(t, &["mkdir"], json!({ "action": "SCMP_ACT_ERRNO" }))?;
    t.refuses(&format!("/linux/seccomp/{field}"), bad, good)
}

/// Whether what makes a folder dies of it.
fn dies(t: &mut Trial<'_>, action: &str, status: i32) -> Result<()> {
    refuse(t, &["mkdir", "mkdirat"], json!({ "action": action }))?;
    t.prints("set +e; mkdir /tmp/d; echo $?; test -d /tmp/d || echo none", &format!("{status}\nnone"))
}

/// What of kill(2) is refused by a rule with these arguments.
fn compares(t: &mut Trial<'_>, arguments: &Value, wanted: &str) -> Result<()> {
    refuse(t, &["kill"], json!({ "action": "SCMP_ACT_ERRNO", "args": arguments }))?;
    signals(t, wanted)
}

fn signals(t: &mut Trial<'_>, wanted: &str) -> Result<()> {
    let said = t.output(&format!("{KILLS}; k 10; k 11; k 12; k 13"))?.replace('\n', " ");
    ensure!(said == wanted, "of the signals {said:?} and not {wanted:?}");
    Ok(())
}

fn notifies(t: &mut Trial<'_>) -> Result<()> {
    let receiver = Receiver::new(&t.bundle.join("listener"))?;
    refuse(t, &["mkdir", "mkdirat"], json!({ "action": "SCMP_ACT_NOTIFY" }))?;
    t.set("/linux/seccomp/listenerPath", json!(receiver.path))?;
    t.set("/linux/seccomp/listenerMetadata", json!("north"))?;
    t.script("echo ready; sleep 1000")?;
    t.write_config()?;
    // Whether the descriptor comes with create or with start is the runtime's choice: both run beside us.
    let (id, bundle) = (t.id.clone(), t.bundle.display().to_string());
    let mut command = t.command(&["run", "--bundle", &bundle, &id]);
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    let mut child = command.spawn().context("Cannot start the runtime")?;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let received = receiver.receive_document(deadline);
    let _ = t.type_command(&["delete", "--force", &id]);
    let _ = child.kill();
    let _ = child.wait();
    let (descriptors, state) = received?;
    ensure!(descriptors.len() == 1, "{} descriptors were sent", descriptors.len());
    ensure!(state.get("fds") == Some(&json!(["seccompFd"])), "{state}");
    ensure!(state.get("metadata") == Some(&json!("north")), "{state}");
    ensure!(state.pointer("/state/id") == Some(&json!(id)), "{state}");
    ensure!(state.get("pid").is_some_and(Value::is_number), "{state}");
    Ok(())
}
