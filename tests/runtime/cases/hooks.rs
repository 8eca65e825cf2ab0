//! config.md: POSIX-platform Hooks, and their places in the life cycle.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::case::Case;
use crate::trial::Trial;

const HOOKS: &str = "config.md POSIX-platform Hooks";
const FAILS: &str = "runtime.md Lifecycle: a hook that fails is an error, and the container is destroyed";

/// The cases of this part.
pub const CASES: &[Case] = &[
    Case::must("hook.prestart", "config.md Prestart: within create", |t| at_create(t, "prestart")),
    Case::must("hook.create_runtime", "config.md CreateRuntime Hooks: within create", |t| {
        at_create(t, "createRuntime")
    }),
    Case::must("hook.create_container", "config.md CreateContainer Hooks: within create", |t| {
        at_create(t, "createContainer")
    }),
    Case::must(
        "hook.start_container",
        "config.md StartContainer Hooks: in the container, before the program",
        |t| {
            t.file("rootfs/bin/hook", "#!/bin/sh\necho \"hook $(hostname)\" >>/tmp/order\n")?;
            hook(t, "startContainer", json!({ "path": "/bin/hook" }))?;
            t.script("echo program >>/tmp/order")?;
            t.create()?;
            ensure!(!t.root("/tmp/order").exists(), "the hook ran before start");
            t.start()?;
            t.wait()?;
            let order = fs::read_to_string(t.root("/tmp/order"))?;
            ensure!(order == "hook case\nprogram\n", "{order:?}");
            Ok(())
        },
    ),
    Case::must(
        "hook.poststart",
        "config.md Poststart: after the program is started, before start returns",
        |t| {
            let log = writes(t, "poststart", "poststart")?;
            t.script("sleep 1000")?;
            t.create()?;
            ensure!(!log.exists(), "the hook ran before start");
            t.start()?;
            ensure!(log.exists(), "start returned, and the hook has not run");
            Ok(())
        },
    ),
    Case::must(
        "hook.poststop",
        "config.md Poststop: after the container is deleted, before delete returns",
        |t| {
            let log = writes(t, "poststop", "poststop")?;
            t.create()?;
            t.start()?;
            t.wait()?;
            ensure!(!log.exists(), "the hook ran before delete");
            t.delete()?;
            ensure!(log.exists(), "delete returned, and the hook has not run");
            Ok(())
        },
    ),
    Case::must("hook.order", "config.md POSIX-platform Hooks: MUST be called in the listed order", |t| {
        let log = t.bundle.join("log").display().to_string();
        for kind in ["poststart", "createContainer", "createRuntime", "prestart"] {
            for number in ["1", "2"] {
                hook(
                    t,
                    kind,
                    json!({ "path": "/bin/sh", "args": ["sh", "-c", format!("echo {kind} {number} >>{log}")] }),
                )?;
            }
        }
        t.output("true")?;
        let order = fs::read_to_string(&log)?;
        let wanted = "prestart 1\nprestart 2\ncreateRuntime 1\ncreateRuntime 2\ncreateContainer 1\ncreateContainer 2\npoststart 1\npoststart 2\n";
        ensure!(order == wanted, "the order is {order:?}");
        Ok(())
    }),
    Case::must("hook.args_and_env", "config.md POSIX-platform Hooks: args, env", |t| {
        let log = t.bundle.join("log");
        let script =
            format!("{{ echo \"$0 $1\"; env | grep -v -E '^(PWD|SHLVL|_|OLDPWD)='; }} >{}", log.display());
        hook(
            t,
            "createRuntime",
            json!({ "path": "/bin/sh", "args": ["sh", "-c", script, "name", "a b"], "env": ["HARBOUR=north", "PATH=/usr/bin:/bin"] }),
        )?;
        t.create()?;
        let said = fs::read_to_string(&log)?;
        ensure!(said.starts_with("name a b\n") && said.contains("HARBOUR=north"), "{said:?}");
        ensure!(said.lines().count() == 3, "more came in: {said:?}");
        Ok(())
    }),
    Case::must(
        "hook.state_while_creating",
        "config.md POSIX-platform Hooks: the state MUST be passed over stdin",
        |t| {
            let state = state_of(t, "createRuntime")?;
            t.create()?;
            check(t, &state, "creating")
        },
    ),
    Case::must(
        "hook.state_in_create_container",
        "config.md POSIX-platform Hooks: the state MUST be passed over stdin",
        |t| {
            let state = state_of(t, "createContainer")?;
            t.create()?;
            check(t, &state, "creating")
        },
    ),
    Case::must(
        "hook.state_after_start",
        "config.md POSIX-platform Hooks: the state MUST be passed over stdin",
        |t| {
            let state = state_of(t, "poststart")?;
            t.script("sleep 1000")?;
            t.create()?;
            t.start()?;
            check(t, &state, "running")
        },
    ),
    Case::must(
        "hook.state_after_the_end",
        "config.md POSIX-platform Hooks: the state MUST be passed over stdin",
        |t| {
            let state = state_of(t, "poststop")?;
            t.create()?;
            t.start()?;
            t.wait()?;
            t.delete()?;
            check(t, &state, "stopped")
        },
    ),
    Case::must(
        "hook.state_has_annotations",
        "config.md POSIX-platform Hooks: the state MUST be passed over stdin",
        |t| {
            t.set("/annotations", json!({ "org.example.harbour": "north" }))?;
            let state = state_of(t, "createRuntime")?;
            t.create()?;
            let text = fs::read_to_string(&state)?;
            let state: Value = serde_json::from_str(&text)?;
            ensure!(state.pointer("/annotations/org.example.harbour") == Some(&json!("north")), "{state}");
            Ok(())
        },
    ),
    Case::must("hook.runs_outside", "config.md CreateRuntime Hooks: in the runtime namespace", |t| {
        let log = writes(t, "createRuntime", "$(readlink /proc/self/ns/mnt) $(readlink /proc/self/ns/uts)")?;
        t.create()?;
        let said = fs::read_to_string(&log)?;
        let own = |file: &str| {
            fs::read_link(format!("/proc/self/ns/{file}")).map(|path| path.display().to_string())
        };
        ensure!(said.trim() == format!("{} {}", own("mnt")?, own("uts")?), "it runs in {said}");
        Ok(())
    }),
    Case::must(
        "hook.create_container_runs_inside",
        "config.md CreateContainer Hooks: in the container namespace",
        |t| {
            let log = writes(t, "createContainer", "$(readlink /proc/self/ns/mnt)")?;
            t.create()?;
            let inside = fs::read_link(format!("/proc/{}/ns/mnt", t.init()?))?.display().to_string();
            ensure!(fs::read_to_string(&log)?.trim() == inside, "it runs elsewhere");
            Ok(())
        },
    ),
    Case::must(
        "hook.sees_the_mounts",
        "config.md CreateContainer Hooks: before pivot_root, after the mounts",
        |t| {
            t.mount("/mnt", "tmpfs", "harbour", &[])?;
            let log = writes(t, "createContainer", "$(grep -c harbour /proc/self/mountinfo)")?;
            t.create()?;
            ensure!(
                fs::read_to_string(&log)?.trim() == "1",
                "the mounts are not there: {:?}",
                fs::read_to_string(&log)?
            );
            Ok(())
        },
    ),
    Case::must("hook.prestart_fails", FAILS, |t| fails_at_create(t, "prestart")),
    Case::must("hook.create_runtime_fails", FAILS, |t| fails_at_create(t, "createRuntime")),
    Case::must("hook.create_container_fails", FAILS, |t| fails_at_create(t, "createContainer")),
    Case::must("hook.start_container_fails", FAILS, |t| {
        t.file("rootfs/bin/hook", "#!/bin/sh\nexit 9\n")?;
        hook(t, "startContainer", json!({ "path": "/bin/hook" }))?;
        t.script("touch /tmp/ran")?;
        t.create()?;
        // The container is gone, or it never ran: what start says of it is the runtime's choice.
        let _ = t.try_start()?;
        t.wait()?;
        ensure!(!t.root("/tmp/ran").exists(), "the program has run");
        Ok(())
    }),
    Case::must(
        "hook.poststart_fails",
        "runtime.md Lifecycle 9: an error, and the container is stopped",
        |t| {
            hook(t, "poststart", json!({ "path": "/bin/false" }))?;
            t.script("sleep 1000")?;
            t.create()?;
            let ran = t.try_start()?;
            ensure!(ran.status != 0, "start succeeds");
            Ok(())
        },
    ),
    Case::must("hook.poststop_fails", "runtime.md Lifecycle 13: a warning, and the rest goes on", |t| {
        hook(t, "poststop", json!({ "path": "/bin/false" }))?;
        let log = writes(t, "poststop", "second")?;
        t.create()?;
        t.start()?;
        t.wait()?;
        t.delete()?;
        ensure!(log.exists(), "the second hook did not run");
        t.is_gone()
    }),
    Case::must("hook.absent_program", FAILS, |t| {
        let hooks = |path: &str| json!([{ "path": path }]);
        t.refuses("/hooks/createRuntime", hooks("/nowhere/hook"), hooks("/bin/true"))
    }),
    Case::must("hook.time_out", "config.md POSIX-platform Hooks: timeout in seconds before aborting", |t| {
        let hooks = |seconds: u32| json!([{ "path": "/bin/sleep", "args": ["sleep", seconds.to_string()], "timeout": 1 }]);
        let started = std::time::Instant::now();
        t.refuses("/hooks/createRuntime", hooks(30), hooks(0))?;
        ensure!(started.elapsed().as_secs() < 25, "the hook was waited for");
        Ok(())
    }),
    Case::must(
        "hook.time_out_of_zero",
        "config.md POSIX-platform Hooks: timeout MUST be greater than zero",
        |t| {
            let hooks = |timeout: u32| json!([{ "path": "/bin/true", "timeout": timeout }]);
            t.refuses("/hooks/createRuntime", hooks(0), hooks(10))
        },
    ),
    Case::must("hook.relative_path", "config.md POSIX-platform Hooks: path MUST be absolute", |t| {
        let hooks = |path: &str| json!([{ "path": path }]);
        t.refuses("/hooks/createRuntime", hooks("true"), hooks("/bin/true"))
    }),
    Case::must("hook.path_required", HOOKS, |t| {
        t.refuses(
            "/hooks/createRuntime",
            json!([{ "args": ["true"] }]),
            json!([{ "path": "/bin/true", "args": ["true"] }]),
        )
    }),
];

fn hook(t: &mut Trial<'_>, kind: &str, hook: Value) -> Result<()> {
    t.push(&format!("/hooks/{kind}"), hook)
}

/// Has a hook of this kind that writes this, as the shell expands it, into the file that is given.
fn writes(t: &mut Trial<'_>, kind: &str, text: &str) -> Result<std::path::PathBuf> {
    let log = t.bundle.join(format!("log-{kind}"));
    let script = format!("echo \"{text}\" >>{}", log.display());
    hook(t, kind, json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"] }))?;
    Ok(log)
}

fn at_create(t: &mut Trial<'_>, kind: &str) -> Result<()> {
    let log = writes(t, kind, "here")?;
    t.create()?;
    ensure!(log.exists(), "create returned, and the hook has not run");
    t.start()?;
    t.wait()?;
    ensure!(fs::read_to_string(&log)? == "here\n", "the hook ran more than once");
    Ok(())
}

fn fails_at_create(t: &mut Trial<'_>, kind: &str) -> Result<()> {
    let hooks = |program: &str| json!([{ "path": program }]);
    t.refuses(&format!("/hooks/{kind}"), hooks("/bin/false"), hooks("/bin/true"))?;
    t.is_gone()
}

/// Has a hook of this kind that keeps what comes over its standard input.
fn state_of(t: &mut Trial<'_>, kind: &str) -> Result<std::path::PathBuf> {
    let file = t.bundle.join("hook-state");
    let script = format!("cat >{}", file.display());
    hook(t, kind, json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"] }))?;
    Ok(file)
}

fn check(t: &Trial<'_>, file: &std::path::Path, status: &str) -> Result<()> {
    let text = fs::read_to_string(file)?;
    let state: Value = serde_json::from_str(&text)?;
    let field = |name: &str| state.get(name).cloned().unwrap_or(Value::Null);
    ensure!(field("id") == json!(t.id) && field("bundle") == json!(t.bundle), "{state}");
    ensure!(field("status") == json!(status), "the status is {}, and not {status}", field("status"));
    ensure!(status == "stopped" || field("pid").as_u64().is_some_and(|pid| pid > 0), "{state}");
    Ok(())
}
