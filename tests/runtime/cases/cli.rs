//! runc's command line, as engines type it: exec, list, ps, pause, update, events, features, and the global flags.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::case::Case;
use crate::process::{self, Ran};
use crate::terminal::{Receiver, read_until};
use crate::trial::Trial;

const TERMINAL: &str = "config.md Process: terminal";
const EXEC: &str = "runc's exec";

/// The cases of this part.
pub const CASES: &[Case] = &[
    Case::must("terminal.console_socket", TERMINAL, |t| {
        let mut terminal = console(
            t,
            "tty; stty size; test -c /dev/console && echo console; for i in 0 1 2; do test -t $i && echo $i; done; echo ready; read line; echo got $line",
        )?;
        let deadline = t.deadline;
        t.start()?;
        let said = read_until(&mut terminal, "ready", deadline)?;
        ensure!(
            said.contains("/dev/pts/0") && said.contains("console") && said.contains("0\r\n1\r\n2\r\n"),
            "{said:?}"
        );
        std::io::Write::write_all(&mut terminal, b"north\n")?;
        read_until(&mut terminal, "got north", deadline)?;
        Ok(())
    }),
    Case::must("terminal.console_size", "config.md Process: consoleSize", |t| {
        t.set("/process/consoleSize", json!({ "height": 33, "width": 77 }))?;
        let terminal = console(t, "stty size; echo ready")?;
        let size = rustix::termios::tcgetwinsize(terminal.as_fd())?;
        ensure!(size.ws_row == 33 && size.ws_col == 77, "the size is {} x {}", size.ws_row, size.ws_col);
        Ok(())
    }),
    Case::must(
        "terminal.size_without_terminal",
        "config.md Process: consoleSize MUST be ignored without terminal",
        |t| {
            t.set("/process/consoleSize", json!({ "height": 33, "width": 77 }))?;
            t.set("/process/cwd", json!("/tmp"))?;
            t.prints("pwd; tty >/dev/null || echo none", "/tmp\nnone")
        },
    ),
    Case::cli("terminal.without_a_socket", "runc's create: a terminal wants --console-socket", |t| {
        t.control()?;
        t.set("/process/terminal", json!(true))?;
        t.refused(false)
    }),
    Case::cli("terminal.in_the_foreground", "runc's run: without --console-socket its own terminal", |t| {
        t.set("/process/terminal", json!(true))?;
        t.script("tty; stty size; echo ready; read line; echo got $line; exit 7")?;
        let (mut ours, theirs) = terminal(31, 91)?;
        let before = rustix::termios::tcgetattr(&theirs)?;
        let mut child = t.run_on(&theirs)?;
        let deadline = t.deadline;
        let said = read_until(&mut ours, "ready", deadline)?;
        ensure!(said.contains("/dev/pts/0") && said.contains("31 91"), "{said:?}");
        std::io::Write::write_all(&mut ours, b"south\r")?;
        read_until(&mut ours, "got south", deadline)?;
        let status = process::end(&mut child, None, deadline)?;
        ensure!(status == 7, "it ends with {status}");
        let after = rustix::termios::tcgetattr(&theirs)?;
        ensure!(after.local_modes == before.local_modes, "the terminal is left as {after:?}");
        Ok(())
    }),
    Case::cli("terminal.is_controlling", TERMINAL, |t| {
        let mut terminal = console(t, "echo x >/dev/tty && echo controlling; echo ready")?;
        let deadline = t.deadline;
        t.start()?;
        let said = read_until(&mut terminal, "ready", deadline)?;
        ensure!(said.contains("controlling"), "{said:?}");
        Ok(())
    }),
    Case::cli("exec.runs_inside", EXEC, |t| {
        t.launch("echo ready; sleep 1000")?;
        let ran = exec(
            t,
            &[],
            &[
                "/bin/sh",
                "-c",
                "hostname; for n in pid mnt uts ipc cgroup; do readlink /proc/self/ns/$n; done",
            ],
        )?
        .ok("exec")?;
        let mut lines = ran.stdout.lines();
        ensure!(lines.next() == Some("case"), "{}", ran.stdout);
        for (file, inside) in ["pid", "mnt", "uts", "ipc", "cgroup"].into_iter().zip(lines) {
            let wanted = fs::read_link(format!("/proc/{}/ns/{file}", t.init()?))?;
            ensure!(
                wanted.display().to_string() == inside,
                "{file} is {inside} and not {}",
                wanted.display()
            );
        }
        Ok(())
    }),
    Case::cli("exec.status", EXEC, |t| {
        t.launch("echo ready; sleep 1000")?;
        let ran = exec(t, &[], &["/bin/sh", "-c", "exit 9"])?;
        ensure!(ran.status == 9, "it ends with {}", ran.status);
        t.is("running")
    }),
    Case::cli("exec.cwd_env_user", "runc's exec --cwd --env --user", |t| {
        t.launch("echo ready; sleep 1000")?;
        let ran = exec(
            t,
            &["--cwd", "/tmp", "--env", "HARBOUR=north", "--user", "7:8"],
            &["/bin/sh", "-c", "pwd; echo $HARBOUR; id -u; id -g; echo $TERM"],
        )?
        .ok("exec")?;
        ensure!(ran.stdout == "/tmp\nnorth\n7\n8\ndumb\n", "{:?}", ran.stdout);
        Ok(())
    }),
    Case::cli("exec.process_file", "runc's exec --process", |t| {
        t.launch("echo ready; sleep 1000")?;
        let process = json!({
            "args": ["/bin/sh", "-c", "pwd; echo $HARBOUR; id -u; ulimit -n; grep -E 'CapEff|NoNew' /proc/self/status | tr -d '\\t'"],
            "cwd": "/tmp", "env": ["PATH=/bin", "HARBOUR=north"], "user": { "uid": 0, "gid": 0 },
            "capabilities": { "bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"] },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 55, "hard": 66 }], "noNewPrivileges": true,
        });
        let file = t.file("process.json", &process.to_string())?.display().to_string();
        let ran = t.type_command(&["exec", "--process", &file, &t.id.clone()])?.ok("exec")?;
        ensure!(
            ran.stdout == "/tmp\nnorth\n0\n55\nCapEff:0000000000000020\nNoNewPrivs:1\n",
            "{:?}",
            ran.stdout
        );
        Ok(())
    }),
    Case::cli("exec.in_the_cgroup", EXEC, |t| {
        t.set("/linux/resources/pids", json!({ "limit": 66 }))?;
        t.launch("echo ready; sleep 1000")?;
        let file = t.bundle.join("exec-pid").display().to_string();
        exec(t, &["--detach", "--pid-file", &file], &["/bin/sleep", "1000"])?.ok("exec")?;
        let process = fs::read_to_string(&file)?;
        let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", process.trim()))?;
        ensure!(cgroup.contains(&t.id), "it is in {cgroup}");
        is_file(t, "pids.max", "66")
    }),
    Case::cli("exec.seccomp", EXEC, |t| {
        t.set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" }] }))?;
        t.launch("echo ready; sleep 1000")?;
        let ran = exec(t, &[], &["/bin/sh", "-c", "mkdir /tmp/d 2>/dev/null || echo refused"])?.ok("exec")?;
        ensure!(ran.stdout.trim() == "refused", "{:?}", ran.stdout);
        Ok(())
    }),
    Case::cli("exec.terminal", "runc's exec --tty --console-socket", |t| {
        t.launch("echo ready; sleep 1000")?;
        let receiver = Receiver::new(&t.bundle.join("console"))?;
        let path = receiver.path.display().to_string();
        let deadline = t.deadline;
        exec(t, &["--tty", "--detach", "--console-socket", &path], &["/bin/sh", "-c", "tty; echo done"])?
            .ok("exec")?;
        let descriptors = receiver.receive(deadline)?;
        let mut terminal = File::from(descriptors.into_iter().next().context("no descriptor came")?);
        let said = read_until(&mut terminal, "done", deadline)?;
        ensure!(said.contains("/dev/pts/"), "{said:?}");
        Ok(())
    }),
    Case::cli("exec.no_such_program", EXEC, |t| {
        t.launch("echo ready; sleep 1000")?;
        let ran = exec(t, &[], &["/bin/nothing"])?;
        ensure!(ran.status != 0, "it succeeds");
        t.is("running")
    }),
    Case::cli("exec.stopped", EXEC, |t| {
        t.create()?;
        t.start()?;
        t.wait()?;
        let ran = exec(t, &[], &["/bin/true"])?;
        ensure!(ran.status != 0, "it succeeds");
        Ok(())
    }),
    Case::cli("run.detached", "runc's run --detach --pid-file", |t| {
        t.script("sleep 1000")?;
        t.write_config()?;
        let file = t.bundle.join("run-pid").display().to_string();
        let ran = t.create_like("run", &["--detach", "--pid-file", &file])?.ok("run")?;
        ensure!(ran.stdout.is_empty(), "{}", ran.stdout);
        t.is("running")?;
        let state = t.state()?;
        ensure!(json!(fs::read_to_string(&file)?.trim().parse::<u32>()?) == state["pid"], "{state}");
        Ok(())
    }),
    Case::cli("run.leaves_nothing", "runc's run deletes what has ended", |t| {
        t.output("true")?;
        t.is_gone()
    }),
    Case::cli("list.json", "runc's list --format json", |t| {
        t.create()?;
        let ran = t.type_command(&["list", "--format", "json"])?.ok("list")?;
        let list: Value = serde_json::from_str(&ran.stdout)?;
        let entry = list.as_array().and_then(|list| list.iter().find(|entry| entry["id"] == json!(t.id)));
        let entry = entry.with_context(|| format!("it is not in {list}"))?;
        ensure!(entry["status"] == "created" && entry["pid"] == json!(t.init()?), "{entry}");
        ensure!(entry["bundle"] == json!(t.bundle), "{entry}");
        Ok(())
    }),
    Case::cli("list.quiet", "runc's list --quiet", |t| {
        t.create()?;
        let ran = t.type_command(&["list", "--quiet"])?.ok("list")?;
        ensure!(ran.stdout.trim() == t.id, "{:?}", ran.stdout);
        Ok(())
    }),
    Case::cli("ps.json", "runc's ps --format json", |t| {
        t.launch("sleep 1000 & echo ready; wait")?;
        let ran = t.type_command(&["ps", "--format", "json", &t.id.clone()])?.ok("ps")?;
        let processes: Vec<u32> = serde_json::from_str(&ran.stdout)?;
        ensure!(processes.len() >= 2 && processes.contains(&t.init()?), "{processes:?}");
        Ok(())
    }),
    Case::cli("pause.and_resume", "runc's pause and resume", |t| {
        t.launch("echo ready; sleep 1000")?;
        t.type_command(&["pause", &t.id.clone()])?.ok("pause")?;
        t.is("paused")?;
        is_file(t, "cgroup.freeze", "1")?;
        t.type_command(&["resume", &t.id.clone()])?.ok("resume")?;
        t.is("running")?;
        is_file(t, "cgroup.freeze", "0")
    }),
    Case::cli("pause.then_delete", "runc's delete --force of a paused container", |t| {
        t.launch("echo ready; sleep 1000")?;
        t.type_command(&["pause", &t.id.clone()])?.ok("pause")?;
        t.type_command(&["delete", "--force", &t.id.clone()])?.ok("delete")?;
        ensure!(t.wait()? == 137, "another status");
        t.is_gone()
    }),
    Case::cli("update.resources", "runc's update --resources", |t| {
        t.launch("echo ready; sleep 1000")?;
        let resources = json!({ "pids": { "limit": 44 }, "memory": { "limit": 67108864 }, "cpu": { "quota": 50000, "period": 100000 } });
        let file = t.file("resources.json", &resources.to_string())?.display().to_string();
        t.type_command(&["update", "--resources", &file, &t.id.clone()])?.ok("update")?;
        is_file(t, "pids.max", "44")?;
        is_file(t, "memory.max", "67108864")?;
        is_file(t, "cpu.max", "50000 100000")
    }),
    Case::cli("update.flags", "runc's update --pids-limit --memory --cpu-quota", |t| {
        t.launch("echo ready; sleep 1000")?;
        t.type_command(&[
            "update",
            "--pids-limit",
            "43",
            "--memory",
            "33554432",
            "--cpu-quota",
            "20000",
            "--cpu-period",
            "100000",
            &t.id.clone(),
        ])?
        .ok("update")?;
        is_file(t, "pids.max", "43")?;
        is_file(t, "memory.max", "33554432")?;
        is_file(t, "cpu.max", "20000 100000")
    }),
    Case::cli("events.stats", "runc's events --stats", |t| {
        t.launch("echo ready; sleep 1000")?;
        let ran = t.type_command(&["events", "--stats", &t.id.clone()])?.ok("events")?;
        let event: Value = serde_json::from_str(&ran.stdout)?;
        ensure!(event["type"] == "stats" && event["id"] == json!(t.id), "{event}");
        ensure!(event.pointer("/data/pids/current").is_some_and(Value::is_number), "{event}");
        Ok(())
    }),
    Case::cli("features.json", "features.md: ociVersionMin, ociVersionMax, hooks, mountOptions", |t| {
        let ran = t.type_command(&["features"])?.ok("features")?;
        let features: Value = serde_json::from_str(&ran.stdout)?;
        for field in ["ociVersionMin", "ociVersionMax", "hooks", "mountOptions", "linux"] {
            ensure!(features.get(field).is_some(), "there is no {field}: {features}");
        }
        ensure!(
            features["hooks"].as_array().is_some_and(|hooks| hooks.contains(&json!("createContainer"))),
            "{features}"
        );
        Ok(())
    }),
    Case::cli("spec.writes_a_config", "runc's spec", |t| {
        t.type_command(&["spec"])?.ok("spec")?;
        let text = fs::read_to_string(t.bundle.join("config.json"))?;
        let config: Value = serde_json::from_str(&text)?;
        ensure!(config["process"]["args"] == json!(["sh"]) && config["root"]["path"] == "rootfs", "{config}");
        Ok(())
    }),
    Case::cli("global.version", "runc's --version", |t| {
        let ran = t.type_command(&["--version"])?.ok("--version")?;
        ensure!(ran.stdout.contains("version") && ran.stdout.contains("spec: 1."), "{:?}", ran.stdout);
        Ok(())
    }),
    Case::cli("global.log", "runc's --log --log-format json", |t| {
        let log = t.bundle.join("log").display().to_string();
        let bundle = t.bundle.display().to_string();
        t.set("/root/path", json!("nowhere"))?;
        t.write_config()?;
        let id = t.id.clone();
        t.fails(&["--log", &log, "--log-format", "json", "create", "--bundle", &bundle, &id])?;
        let text = fs::read_to_string(&log)?;
        let entry: Value = serde_json::from_str(text.lines().last().context("the log is empty")?)?;
        ensure!(
            entry["level"] == "error" && entry["msg"].as_str().is_some_and(|said| !said.is_empty()),
            "{entry}"
        );
        Ok(())
    }),
    Case::cli("global.errors_on_stderr", "runc's errors, for people", |t| {
        let ran = t.type_command(&["state", "nobody"])?;
        ensure!(ran.status != 0 && !ran.stderr.trim().is_empty() && ran.stdout.is_empty(), "{ran:?}");
        Ok(())
    }),
    Case::cli("global.preserved_descriptors", "runc's run --preserve-fds", |t| {
        t.script("cat <&3")?;
        t.write_config()?;
        let given = t.file("given", "through three")?;
        // A shell opens descriptor 3, for std starts programs with three and no more.
        let command = t.command(&["run", "--preserve-fds", "1", &t.id.clone()]);
        let mut shell = Command::new("sh");
        shell
            .current_dir(&t.bundle)
            .args(["-c", "exec 3<\"$0\"; exec \"$@\""])
            .arg(given)
            .arg(command.get_program())
            .args(command.get_args());
        let errors = t.errors();
        let ran = process::run_alone(shell, &errors, t.deadline)?.ok("run")?;
        ensure!(ran.stdout.trim() == "through three", "{:?}", ran.stdout);
        Ok(())
    }),
    Case::cli("kill.all", "runc's kill --all", |t| {
        t.replace_namespace("pid", None)?;
        t.launch("sleep 1000 & echo ready; wait")?;
        let own = fs::read_link("/proc/self/ns/pid")?;
        ensure!(fs::read_link(format!("/proc/{}/ns/pid", t.init()?))? == own, "it has processes of its own");
        let cgroup = t.cgroup()?;
        t.type_command(&["kill", "--all", &t.id.clone(), "KILL"])?.ok("kill --all")?;
        ensure!(t.wait()? == 137, "another status");
        empties(t, &cgroup)
    }),
];

/// Creates a container with a terminal; gives the terminal's other side.
fn console(t: &mut Trial<'_>, script: &str) -> Result<File> {
    t.set("/process/terminal", json!(true))?;
    t.script(script)?;
    let receiver = Receiver::new(&t.bundle.join("console"))?;
    t.create_with(&["--console-socket", &receiver.path.display().to_string()])?.ok("create")?;
    let descriptors = receiver.receive(t.deadline)?;
    Ok(File::from(descriptors.into_iter().next().context("no descriptor came")?))
}

/// A terminal of so many rows and columns: both its sides.
fn terminal(rows: u16, columns: u16) -> Result<(File, OwnedFd)> {
    use rustix::pty::OpenptFlags;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = rustix::pty::openpt(flags).context("Cannot make a terminal")?;
    rustix::pty::unlockpt(&ours)?;
    let theirs = rustix::pty::ioctl_tiocgptpeer(&ours, flags)?;
    let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&theirs, size)?;
    Ok((File::from(ours), theirs))
}

/// `exec` with these flags and this command.
pub fn exec(t: &mut Trial<'_>, flags: &[&str], command: &[&str]) -> Result<Ran> {
    let id = t.id.clone();
    t.type_command(&[&["exec"], flags, &[&id], command].concat())
}

fn is_file(t: &Trial<'_>, file: &str, wanted: &str) -> Result<()> {
    let text = fs::read_to_string(t.cgroup()?.join(file))?;
    ensure!(text.trim() == wanted, "{file} is {:?} and not {wanted:?}", text.trim());
    Ok(())
}

/// Waits until nothing lives in a cgroup.
pub fn empties(t: &Trial<'_>, cgroup: &std::path::Path) -> Result<()> {
    loop {
        let events = fs::read_to_string(cgroup.join("cgroup.events"))?;
        if events.contains("populated 0") {
            return Ok(());
        }
        // The kernel tells of a change by POLLPRI; a process that ends is gone in a moment, so yield.
        ensure!(std::time::Instant::now() < t.deadline, "processes are left: {events}");
        std::thread::yield_now();
    }
}
