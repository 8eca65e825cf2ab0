//! runtime.md: create, start, kill, delete, state, and their errors.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::case::Case;
use crate::trial::Trial;

/// A container that waits for a signal and says which came.
const WAITS: &str = "trap 'echo got; exit 42' USR1; trap 'exit 43' TERM; echo ready; while :; do sleep 1000 & wait $! || true; done";

/// The cases of this part.
pub const CASES: &[Case] = &[
    Case::must("create.creates", "runtime.md Create: MUST create a new container", |t| {
        t.create()?;
        t.is("created")
    }),
    Case::must(
        "create.does_not_run",
        "runtime.md Lifecycle 2: the program MUST NOT be run at this time",
        |t| {
            t.script("touch /tmp/ran; echo ready; sleep 1000")?;
            t.create()?;
            t.is("created")?;
            ensure!(!t.root("/tmp/ran").exists(), "the program has run before start");
            t.start()?;
            t.says("ready")?;
            ensure!(t.root("/tmp/ran").exists(), "the program did not run");
            Ok(())
        },
    ),
    Case::must(
        "create.later_changes_have_no_effect",
        "runtime.md Create: changes to config.json after it have no effect",
        |t| {
            t.script("echo first")?;
            t.create()?;
            t.script("echo second")?;
            t.write_config()?;
            t.start()?;
            t.wait()?;
            ensure!(t.said()?.trim() == "first", "it says {:?}", t.said()?);
            Ok(())
        },
    ),
    Case::must(
        "create.config_not_needed_later",
        "runtime.md Create: changes to config.json after it have no effect",
        |t| {
            t.script("echo first")?;
            t.create()?;
            fs::remove_file(t.bundle.join("config.json"))?;
            t.start()?;
            t.wait()?;
            ensure!(t.said()?.trim() == "first", "it says {:?}", t.said()?);
            t.is("stopped")?;
            t.delete()
        },
    ),
    Case::must(
        "create.without_id",
        "runtime.md Create: an error if it is not provided the container ID",
        |t| {
            t.write_config()?;
            t.fails(&["create", "--bundle", &t.bundle.display().to_string()])
        },
    ),
    Case::must(
        "create.without_bundle",
        "runtime.md Create: an error if it is not provided a path to the bundle",
        |t| {
            t.fails(&["create", &t.id.clone()])?;
            t.is_gone()
        },
    ),
    Case::must(
        "create.id_taken",
        "runtime.md Create: an ID that is not unique is an error, and no new container is created",
        |t| {
            t.create()?;
            let first = t.state()?;
            t.write_config()?;
            t.fails(&["create", "--bundle", &t.bundle.display().to_string(), &t.id.clone()])?;
            ensure!(t.state()? == first, "the first container has changed");
            t.start()
        },
    ),
    Case::must("create.id_invalid", "runtime.md Create: an ID that is not valid is an error", |t| {
        t.write_config()?;
        for id in ["../up", "a/b", "", ".", ".."] {
            let ran = t.create_as(id, &[])?;
            ensure!(ran.status != 0, "the ID {id:?} is accepted");
        }
        ensure!(!t.bundle.join("up").exists(), "an ID leads out of the runtime's folder");
        Ok(())
    }),
    Case::must(
        "create.error_leaves_nothing",
        "runtime.md Errors: an error MUST leave the state as if never attempted",
        |t| {
            t.set("/root/path", json!("nowhere"))?;
            let ran = t.try_create()?;
            ensure!(ran.status != 0, "a root that is not there is accepted");
            t.is_gone()?;
            let cgroup = format!("/sys/fs/cgroup/conformance/{}", t.id);
            ensure!(!Path::new(&cgroup).exists(), "the cgroup is left over");
            t.set("/root/path", json!("rootfs"))?;
            t.create().context("The ID is lost")
        },
    ),
    Case::cli("create.pid_file", "runc's create --pid-file", |t| {
        t.create()?;
        let state = t.state()?;
        let init = t.init()?;
        ensure!(state.get("pid") == Some(&json!(init)), "the pid file says {init}, and state {state}");
        Ok(())
    }),
    Case::must("state.fields", "runtime.md State: ociVersion, id, status, pid, bundle", |t| {
        t.create()?;
        let state = t.state()?;
        let field = |name: &str| state.get(name).cloned().unwrap_or(Value::Null);
        ensure!(field("id") == json!(t.id), "id is {}", field("id"));
        ensure!(field("status") == json!("created"), "status is {}", field("status"));
        ensure!(field("bundle") == json!(t.bundle), "bundle is {}", field("bundle"));
        ensure!(
            field("ociVersion").as_str().is_some_and(|text| text.split('.').count() >= 3),
            "no ociVersion"
        );
        let pid = field("pid").as_u64().context("pid is no number")?;
        ensure!(Path::new(&format!("/proc/{pid}")).exists(), "there is no process {pid}");
        Ok(())
    }),
    Case::must("state.bundle_is_absolute", "runtime.md State: bundle is the absolute path", |t| {
        t.write_config()?;
        t.type_command(&["create", "--bundle", ".", &t.id.clone()])?.ok("create")?;
        let state = t.state()?;
        ensure!(state.get("bundle") == Some(&json!(t.bundle)), "{state}");
        Ok(())
    }),
    Case::must("state.annotations", "runtime.md State: the annotations associated with the container", |t| {
        t.set("/annotations", json!({ "org.example.harbour": "north", "org.example.empty": "" }))?;
        t.create()?;
        let state = t.state()?;
        let annotation = |name: &str| state.get("annotations").and_then(|all| all.get(name)).cloned();
        ensure!(annotation("org.example.harbour") == Some(json!("north")), "{state}");
        ensure!(annotation("org.example.empty") == Some(json!("")), "{state}");
        Ok(())
    }),
    Case::must("state.running", "runtime.md State: running, and the process's ID", |t| {
        t.launch("echo ready; sleep 1000")?;
        t.is("running")?;
        let comm = t.proc_file("cmdline")?;
        ensure!(comm.contains("sleep"), "the state's pid is of {comm:?}");
        Ok(())
    }),
    Case::must("state.stopped", "runtime.md State: stopped when the process has exited", |t| {
        t.script("exit 3")?;
        t.create()?;
        t.start()?;
        ensure!(t.wait()? == 3, "another status");
        t.is("stopped")
    }),
    Case::must(
        "state.unknown_id",
        "runtime.md Query State: a container that does not exist is an error",
        |t| {
            t.create()?;
            t.fails(&["state", "nobody"])
        },
    ),
    Case::must("state.without_id", "runtime.md Query State: an error if it is not provided the ID", |t| {
        t.create()?;
        t.fails(&["state"])
    }),
    Case::must("start.runs", "runtime.md Start: MUST run the program", |t| {
        t.script("echo here")?;
        t.create()?;
        t.start()?;
        ensure!(t.wait()? == 0, "it failed");
        ensure!(t.said()?.trim() == "here", "it says {:?}", t.said()?);
        Ok(())
    }),
    Case::must(
        "start.twice",
        "runtime.md Start: of a container that is not created, an error and no effect",
        |t| {
            t.launch("echo ready; sleep 1000")?;
            t.fails(&["start", &t.id.clone()])?;
            t.is("running")
        },
    ),
    Case::must(
        "start.stopped",
        "runtime.md Start: of a container that is not created, an error and no effect",
        |t| {
            t.script("echo once")?;
            t.create()?;
            t.start()?;
            t.wait()?;
            t.fails(&["start", &t.id.clone()])?;
            ensure!(t.said()?.trim() == "once", "it ran again");
            t.is("stopped")
        },
    ),
    Case::must("start.unknown_id", "runtime.md Start: of a container that does not exist, an error", |t| {
        t.create()?;
        t.fails(&["start", "nobody"])?;
        t.is("created")
    }),
    Case::must("start.without_id", "runtime.md Start: an error if it is not provided the ID", |t| {
        t.create()?;
        t.fails(&["start"])?;
        t.is("created")
    }),
    Case::must("start.without_process", "runtime.md Start: an error if process was not set", |t| {
        t.control()?;
        t.remove("/process")?;
        t.refused(true)
    }),
    Case::must(
        "kill.sends_the_signal",
        "runtime.md Kill: MUST send the specified signal to the process",
        |t| {
            t.launch(WAITS)?;
            t.kill("USR1")?;
            t.says("got")?;
            ensure!(t.wait()? == 42, "another status");
            Ok(())
        },
    ),
    Case::cli("kill.names", "runc's kill: a signal by its name with SIG, and by its number", |t| {
        t.launch("trap 'echo first' USR1; trap 'echo second; exit 0' USR2; echo ready; while :; do sleep 1000 & wait $! || true; done")?;
        t.kill("SIGUSR1")?;
        t.says("first")?;
        t.kill("12")?;
        t.says("second")
    }),
    Case::cli("kill.default", "runc's kill: without a signal it is TERM", |t| {
        t.launch(WAITS)?;
        t.type_command(&["kill", &t.id.clone()])?.ok("kill")?;
        ensure!(t.wait()? == 43, "another status");
        Ok(())
    }),
    Case::must("kill.created", "runtime.md Kill: of a created container it is allowed", |t| {
        t.create()?;
        t.kill("KILL")?;
        ensure!(t.wait()? == 137, "it did not die of the signal");
        t.is("stopped")
    }),
    Case::must("kill.stopped", "runtime.md Kill: of a stopped container, an error and no effect", |t| {
        t.create()?;
        t.start()?;
        t.wait()?;
        t.fails(&["kill", &t.id.clone(), "KILL"])?;
        t.is("stopped")
    }),
    Case::must("kill.unknown_id", "runtime.md Kill: of a container that does not exist, an error", |t| {
        t.create()?;
        t.fails(&["kill", "nobody", "KILL"])?;
        t.is("created")
    }),
    Case::must("kill.without_id", "runtime.md Kill: an error if it is not provided the ID", |t| {
        t.create()?;
        t.fails(&["kill"])?;
        t.is("created")
    }),
    Case::must(
        "kill.no_such_signal",
        "runtime.md Errors: a signal that there is not is an error without an effect",
        |t| {
            t.launch("echo ready; sleep 1000")?;
            t.fails(&["kill", &t.id.clone(), "NOSUCH"])?;
            t.fails(&["kill", &t.id.clone(), "4711"])?;
            t.is("running")
        },
    ),
    Case::must("delete.stopped", "runtime.md Delete: deletes what create made", |t| {
        t.create()?;
        let cgroup = t.cgroup()?;
        ensure!(cgroup.exists(), "there is no cgroup");
        t.start()?;
        t.wait()?;
        t.delete()?;
        t.is_gone()?;
        ensure!(!cgroup.exists(), "the cgroup is left over");
        Ok(())
    }),
    Case::must(
        "delete.keeps_the_bundle",
        "runtime.md Delete: what the container did not create MUST NOT be deleted",
        |t| {
            t.create()?;
            t.start()?;
            t.wait()?;
            t.delete()?;
            ensure!(
                t.root("/bin/busybox").exists() && t.bundle.join("config.json").exists(),
                "the bundle is gone"
            );
            Ok(())
        },
    ),
    Case::must(
        "delete.running",
        "runtime.md Delete: of a container that is not stopped, an error and no effect",
        |t| {
            t.launch("echo ready; sleep 1000")?;
            t.fails(&["delete", &t.id.clone()])?;
            t.is("running")
        },
    ),
    Case::must(
        "delete.created",
        "runtime.md Delete: of a container that is not stopped, an error and no effect",
        |t| {
            t.create()?;
            t.fails(&["delete", &t.id.clone()])?;
            t.is("created")
        },
    ),
    Case::must("delete.unknown_id", "runtime.md Delete: of a container that does not exist, an error", |t| {
        t.create()?;
        t.fails(&["delete", "nobody"])?;
        t.is("created")
    }),
    Case::must(
        "delete.twice",
        "runtime.md Delete: of a container that does not exist any more, an error",
        ends_for_good,
    ),
    Case::must(
        "delete.frees_the_id",
        "runtime.md Delete: the ID MAY be used by a subsequent container",
        |t| {
            ends_for_good(t)?;
            t.create()?;
            t.is("created")
        },
    ),
    Case::cli("delete.force", "runc's delete --force ends a running container", |t| {
        t.launch("trap '' TERM; echo ready; sleep 1000")?;
        t.type_command(&["delete", "--force", &t.id.clone()])?.ok("delete --force")?;
        ensure!(t.wait()? == 137, "it did not die of KILL");
        t.is_gone()
    }),
];

fn ends_for_good(t: &mut Trial<'_>) -> Result<()> {
    t.create()?;
    t.start()?;
    t.wait()?;
    t.delete()?;
    t.fails(&["delete", &t.id.clone()])
}
