//! Hooks: programs that get the container's state on their standard input (`config.md`, "POSIX-platform Hooks").

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use bulkhead_protocol::oci::{Hook, Hooks, State};
use rustix::process::{Pid, Signal};

/// What goes wrong with a hook.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// It could not be run.
    #[error("Cannot run hook {path} of hooks.{kind}")]
    Run {
        /// The kind.
        kind: &'static str,
        /// The program.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It failed.
    #[error("Hook {path} of hooks.{kind} failed: {status}")]
    Failed {
        /// The kind.
        kind: &'static str,
        /// The program.
        path: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// It took too long, and was killed.
    #[error("Hook {path} of hooks.{kind} did not end in {seconds} s")]
    Late {
        /// The kind.
        kind: &'static str,
        /// The program.
        path: String,
        /// Its time-out.
        seconds: i64,
    },
    /// What the specification says of it is wrong.
    #[error("hooks.{kind} of {path} cannot be used: {reason}")]
    Wrong {
        /// The kind.
        kind: &'static str,
        /// The program.
        path: String,
        /// What is wrong.
        reason: &'static str,
    },
}

/// Every kind's name and its list.
pub fn kinds(hooks: &Hooks) -> [(&'static str, &[Hook]); 6] {
    [
        ("prestart", &hooks.prestart),
        ("createRuntime", &hooks.create_runtime),
        ("createContainer", &hooks.create_container),
        ("startContainer", &hooks.start_container),
        ("poststart", &hooks.poststart),
        ("poststop", &hooks.poststop),
    ]
}

/// Says what is wrong with hooks, before anything is made.
pub fn check(hooks: &Hooks) -> Result<(), HookError> {
    for (kind, list) in kinds(hooks) {
        for hook in list {
            let wrong = |reason| HookError::Wrong { kind, path: hook.path.clone(), reason };
            if !hook.path.starts_with('/') {
                return Err(wrong("its path is not absolute"));
            }
            if hook.timeout.is_some_and(|seconds| seconds <= 0) {
                return Err(wrong("its timeout is not above 0"));
            }
        }
    }
    Ok(())
}

/// Runs hooks one after the other; the first that fails ends it.
pub fn run(kind: &'static str, hooks: &[Hook], state: &State) -> Result<(), HookError> {
    for hook in hooks {
        run_one(kind, hook, state)?;
    }
    Ok(())
}

fn run_one(kind: &'static str, hook: &Hook, state: &State) -> Result<(), HookError> {
    let failed = |source| HookError::Run { kind, path: hook.path.clone(), source };
    let mut command = Command::new(&hook.path);
    if let Some((name, arguments)) = hook.args.split_first() {
        command.arg0(name).args(arguments);
    }
    let words = hook.env.iter().filter_map(|word| word.split_once('='));
    command.env_clear().envs(words).stdin(Stdio::piped());
    if hook.timeout.is_some() {
        // A group of its own, so that its time is up for what it started, too.
        command.process_group(0);
    }
    let mut child = command.spawn().map_err(failed)?;
    let state = serde_json::to_vec(state).map_err(|error| failed(error.into()))?;
    if let Some(mut input) = child.stdin.take() {
        match input.write_all(&state) {
            // Who does not read its state does not want it.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(error));
            }
            _ => {}
        }
    }
    let ended = wait(&mut child, hook.timeout).map_err(failed)?;
    let path = hook.path.clone();
    match (ended, hook.timeout) {
        (Some(status), _) if status.success() => Ok(()),
        (Some(status), _) => Err(HookError::Failed { kind, path, status }),
        (None, seconds) => Err(HookError::Late { kind, path, seconds: seconds.unwrap_or(0) }),
    }
}

/// How it ended, or nothing where it had to be killed, which its whole process group is.
fn wait(child: &mut Child, seconds: Option<i64>) -> io::Result<Option<ExitStatus>> {
    let Some(seconds) = seconds.and_then(|seconds| u64::try_from(seconds).ok()) else {
        return child.wait().map(Some);
    };
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    rustix::process::kill_process_group(Pid::from_child(child), Signal::KILL)?;
    child.wait()?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::fd::AsRawFd as _;

    use bulkhead_protocol::oci::Status;

    use super::*;

    fn state() -> State {
        State {
            oci_version: "1.2.0".into(),
            id: "web".into(),
            status: Status::Creating,
            pid: 7,
            bundle: "/b".into(),
            annotations: BTreeMap::new(),
        }
    }

    fn shell(script: &str, timeout: Option<i64>) -> Hook {
        let args = ["sh", "-c", script].map(ToOwned::to_owned).into();
        Hook { path: "/bin/sh".into(), args, env: vec!["A=b".into()], timeout }
    }

    #[test]
    fn a_hook_reads_the_state_and_has_its_own_environment() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("out");
        let script = format!("{{ echo $A $HOME; cat; }} >{}", file.display());
        run("poststop", &[shell(&script, None)], &state()).unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        assert!(text.starts_with("b\n{"), "{text}");
        assert!(text.contains(r#""id":"web","status":"creating","pid":7"#), "{text}");
    }

    #[test]
    fn failures_and_delays_are_told() {
        assert!(matches!(run("prestart", &[shell("exit 3", None)], &state()), Err(HookError::Failed { .. })));
        assert!(matches!(
            run("prestart", &[shell("sleep 9", Some(1))], &state()),
            Err(HookError::Late { .. })
        ));
        // Who reads to the end of a pipe that the hook's children have waits for the last of them.
        let (reader, writer) = io::pipe().unwrap();
        let path = format!("/proc/{}/fd/{}", std::process::id(), writer.as_raw_fd());
        let script = format!("sleep 1000 >{path} & wait");
        let late = run("prestart", &[shell(&script, Some(1))], &state());
        assert!(matches!(late, Err(HookError::Late { .. })));
        drop(writer);
        assert_eq!(io::read_to_string(reader).unwrap(), "");
        let none = Hook { path: "/nowhere".into(), ..Hook::default() };
        assert!(matches!(run("prestart", &[none], &state()), Err(HookError::Run { .. })));
        run("prestart", &[shell("exec <&-; exit 0", Some(5))], &state()).unwrap();
    }

    #[test]
    fn relative_paths_and_no_time_are_refused() {
        let hooks = |hook| Hooks { poststart: vec![hook], ..Hooks::default() };
        assert!(check(&hooks(Hook { path: "true".into(), ..Hook::default() })).is_err());
        assert!(check(&hooks(shell("true", Some(0)))).is_err());
        assert!(check(&hooks(shell("true", Some(1)))).is_ok());
    }
}
